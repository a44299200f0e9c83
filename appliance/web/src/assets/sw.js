// Only where the context is secure: pages that were looked at can be read again out of reach.
// Nothing needs this worker; on plain http the hub works without it.

const ASSETS = "@assets";
const KEPT_PAGES = 60;

addEventListener("install", (event) => {
  event.waitUntil(caches.open("assets").then((cache) => cache.addAll(ASSETS)).then(() => skipWaiting()));
});

addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open("assets");
      for (const request of await cache.keys()) {
        if (!ASSETS.includes(new URL(request.url).pathname)) await cache.delete(request);
      }
      await clients.claim();
    })(),
  );
});

const keepPage = async (request, response) => {
  const cache = await caches.open("pages");
  await cache.put(request, response);
  const keys = await cache.keys();
  for (const old of keys.slice(0, Math.max(0, keys.length - KEPT_PAGES))) await cache.delete(old);
};

addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin || url.pathname.startsWith("/api/")) return;
  if (url.pathname.startsWith("/assets/")) {
    event.respondWith(caches.match(request).then((kept) => kept ?? fetch(request)));
    return;
  }
  if (request.mode !== "navigate") return;
  event.respondWith(
    fetch(request).then(
      (response) => {
        if (response.ok && response.headers.get("X-Cairn")) event.waitUntil(keepPage(request, response.clone()));
        return response;
      },
      async () => (await caches.match(request)) ?? (await caches.match("/")) ?? Response.error(),
    ),
  );
});
