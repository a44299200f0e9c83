//! The trust store when the power goes: at every operation, with everything that may be left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use cairn_trust::{Error, Memory, Store, storage::Storage};

/// What is left of content that was written but not synced.
#[derive(Debug, Clone, Copy)]
enum Left {
    Old,
    Nothing,
    Half,
    Zeros,
    All,
}

/// How the power goes.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// At which operation, from 0.
    at: u64,
    /// Whether that operation still happens.
    happens: bool,
    /// Whether names that were not synced are there.
    names: bool,
    content: Left,
}

#[derive(Debug, Default, Clone)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    synced: BTreeMap<String, usize>,
    operations: u64,
    cut: Option<Cut>,
    dark: bool,
}

impl Disk {
    /// Whether the next operation happens, and whether it comes back.
    fn step(&mut self) -> (bool, io::Result<()>) {
        let gone = || Err(io::Error::other("the power is gone"));
        if self.dark {
            return (false, gone());
        }
        let number = self.operations;
        self.operations += 1;
        match self.cut {
            Some(cut) if cut.at == number => {
                self.dark = true;
                (cut.happens, gone())
            }
            _ => (true, Ok(())),
        }
    }

    /// The power is back.
    fn boot(&mut self) {
        let Some(cut) = self.cut.take() else { return };
        if !cut.names {
            self.names = self.synced.clone();
        }
        self.synced = self.names.clone();
        for inode in &mut self.inodes {
            if inode.now != inode.synced {
                let half = inode.now.len() / 2;
                inode.now = match cut.content {
                    Left::Old => inode.synced.clone(),
                    Left::Nothing => Vec::new(),
                    Left::Half => inode.now[..half].to_vec(),
                    Left::Zeros => vec![0; inode.now.len()],
                    Left::All => inode.now.clone(),
                };
            }
            inode.synced = inode.now.clone();
        }
        self.dark = false;
        self.operations = 0;
    }
}

#[derive(Debug, Clone, Default)]
struct Simulated(Arc<Mutex<Disk>>);

impl Storage for Simulated {
    fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let disk = self.0.lock().unwrap();
        let inode = disk.names.get(name).map(|inode| &disk.inodes[*inode]);
        Ok(inode.map(|inode| inode.now.iter().copied().take(limit as usize).collect()))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let (happens, result) = disk.step();
        if happens {
            let known = disk.names.get(name).copied();
            let inode = known.unwrap_or_else(|| {
                disk.inodes.push(Inode::default());
                let inode = disk.inodes.len() - 1;
                disk.names.insert(name.to_owned(), inode);
                inode
            });
            disk.inodes[inode].now = bytes.to_vec();
        }
        result
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let (happens, result) = disk.step();
        if happens {
            let inode = disk.names[name];
            disk.inodes[inode].synced = disk.inodes[inode].now.clone();
        }
        result
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let (happens, result) = disk.step();
        if happens {
            let inode = disk.names.remove(from).unwrap();
            disk.names.insert(to.to_owned(), inode);
        }
        result
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let (happens, result) = disk.step();
        if happens {
            disk.synced = disk.names.clone();
        }
        result
    }
}

/// What is remembered after `number` updates.
fn memory(number: u64) -> Memory {
    Memory::initial(format!("{{\"root\":{number}}}"), number)
}

/// Begins and updates three times; gives the last number that was acknowledged, if any.
fn story(disk: &Simulated) -> Option<u64> {
    let mut store = Store::create(disk.clone(), memory(0)).ok()?;
    for number in 1..=3 {
        if store.save(memory(number)).is_err() {
            return Some(number - 1);
        }
    }
    Some(3)
}

#[test]
fn at_every_operation_a_cut_leaves_the_old_memory_or_the_new_one() {
    let dry = Simulated::default();
    assert_eq!(story(&dry), Some(3));
    let operations = dry.0.lock().unwrap().operations;
    let mut cuts = 0;
    for at in 0..operations {
        for content in [Left::Old, Left::Nothing, Left::Half, Left::Zeros, Left::All] {
            for (happens, names) in [(false, false), (false, true), (true, false), (true, true)] {
                let cut = Cut { at, happens, names, content };
                let disk = Simulated::default();
                disk.0.lock().unwrap().cut = Some(cut);
                let acknowledged = story(&disk);
                disk.0.lock().unwrap().boot();
                cuts += 1;
                let store = match (Store::open(disk.clone()), acknowledged) {
                    (Ok(store), _) => store,
                    // The very first write had not come back, so that nobody was told of any memory.
                    (Err(Error::Lost(_)), None) => {
                        Store::create(disk, memory(0)).unwrap_or_else(|error| panic!("{cut:?}: {error}"));
                        continue;
                    }
                    (Err(error), _) => panic!("{cut:?}, {acknowledged:?}: {error}"),
                };
                let floor = store.memory().floor();
                let least = acknowledged.unwrap_or(0);
                let most = acknowledged.map_or(0, |number| (number + 1).min(3));
                assert!((least..=most).contains(&floor), "{cut:?}: {floor}, acknowledged {acknowledged:?}");
                let mut store = store;
                store.save(memory(9)).unwrap();
                assert_eq!(Store::open(disk).unwrap().memory(), &memory(9), "{cut:?}: it goes on");
            }
        }
    }
    println!("{cuts} cuts of the trust store");
    assert!(cuts >= 600);
}

#[test]
fn one_damaged_copy_is_no_loss_and_is_mended() {
    for name in ["trust.a", "trust.b"] {
        let disk = Simulated::default();
        assert_eq!(story(&disk), Some(3));
        let length = disk.read(name, u64::MAX).unwrap().unwrap().len();
        for at in (0..length).chain([usize::MAX]) {
            let mut storage = disk.clone();
            let mut bytes = storage.read(name, u64::MAX).unwrap().unwrap();
            match bytes.get_mut(at) {
                Some(byte) => *byte ^= 0x10,
                None => bytes.clear(),
            }
            storage.write(name, &bytes).unwrap();
            assert_eq!(Store::open(disk.clone()).unwrap().memory(), &memory(3), "{name} at {at}");
            let mended = disk.read(name, u64::MAX).unwrap().unwrap();
            assert_eq!(mended.len(), length, "{name} at {at}");
        }
    }
}

#[test]
fn a_lost_store_is_not_begun_anew() {
    assert!(matches!(Store::open(Simulated::default()), Err(Error::Lost(_))));
    let mut disk = Simulated::default();
    assert_eq!(story(&disk), Some(3));
    disk.write("trust.a", b"").unwrap();
    disk.write("trust.b", b"CAIRNTS1 something else").unwrap();
    assert!(matches!(Store::open(disk.clone()), Err(Error::Lost(_))));
    assert!(matches!(Store::create(disk, memory(0)), Err(Error::Exists)));
}
