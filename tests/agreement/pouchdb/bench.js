// The same records through PouchDB: a client pushes them to a server over HTTP, an empty client is filled from it. Client and server
// keep theirs in LevelDB on disk and run in one process each; a proxy between them counts bytes.
//
//   node bench.js COUNT
//
// Prints one line of JSON: seconds and bytes of both ways, and of the documents as JSON.
'use strict';
const { fork } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const PouchDB = require('pouchdb');

async function serve(folder) {
  const express = require('express');
  const app = express();
  const Store = PouchDB.defaults({ prefix: folder + path.sep });
  app.use('/', require('express-pouchdb')(Store, { mode: 'minimumForPouchDB', inMemoryConfig: true, logPath: path.join(folder, 'log') }));
  const server = app.listen(0, '127.0.0.1', () => process.send(server.address().port));
}

function counting(port) {
  const count = { bytes: 0 };
  const server = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on('data', (piece) => { count.bytes += piece.length; });
      from.on('error', () => to.destroy());
      from.pipe(to);
    }
  });
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done({ count, server, port: server.address().port })));
}

async function main() {
  const count = Number(process.argv[2] || 10000);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'cairn-pouchdb-'));
  const there = path.join(folder, 'server');
  fs.mkdirSync(there);
  const child = fork(__filename, ['serve', there], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  try {
    const port = await new Promise((done, fail) => { child.once('message', done); child.once('exit', fail); });
    const proxy = await counting(port);
    const url = `http://127.0.0.1:${proxy.port}/records`;
    const docs = Array.from({ length: count }, (_, n) => ({
      _id: String(n).padStart(8, '0'),
      kind: 'notice',
      title: `Water point ${n}`,
      level: 'info',
      body: `The pump at bridge ${n} works again.\nBring clean cans.\n`,
    }));
    const payload = docs.reduce((sum, doc) => sum + Buffer.byteLength(JSON.stringify(doc)), 0);
    const options = { batch_size: 500, batches_limit: 2 };
    const writer = new PouchDB(path.join(folder, 'writer'));
    for (let at = 0; at < count; at += 1000) {
      await writer.bulkDocs(docs.slice(at, at + 1000));
    }
    const measured = async (work) => {
      const [began, before] = [process.hrtime.bigint(), proxy.count.bytes];
      await work();
      return [Number(process.hrtime.bigint() - began) / 1e9, proxy.count.bytes - before];
    };
    const [push_s, push_bytes] = await measured(() => writer.replicate.to(url, options));
    const reader = new PouchDB(path.join(folder, 'reader'));
    const [fill_s, fill_bytes] = await measured(() => reader.replicate.from(url, options));
    const { doc_count } = await reader.info();
    if (doc_count !== count) throw new Error(`${doc_count} of ${count} documents arrived`);
    console.log(JSON.stringify({ push_s, push_bytes, fill_s, fill_bytes, payload }));
    proxy.server.close();
  } finally {
    child.removeAllListeners();
    child.kill();
    fs.rmSync(folder, { recursive: true, force: true });
  }
  process.exit(0);
}

if (process.argv[2] === 'serve') {
  serve(process.argv[3]);
} else {
  main().catch((error) => { console.error(error); process.exit(1); });
}
