//! What the tests share: a claimed hub in a temporary folder, people, and fields in one line.

use cairn_store::{NewAccount, OpenOptions, Part, Record, Secret, Store, Viewer};
use cairn_sync::{Fields, Kind, RecordId, Role, Value};
use tempfile::TempDir;

/// Fields from pairs.
pub(crate) fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Fields {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Options that make tests quiet and repeatable.
pub(crate) fn options() -> OpenOptions {
    OpenOptions { claim_code: Some("TESTCODE".into()), readers: 2, upkeep: false, ..OpenOptions::default() }
}

/// An account's data.
pub(crate) fn account(login: &str) -> NewAccount {
    NewAccount {
        name: format!("Name of {login}"),
        login: login.into(),
        password_hash: Secret::new("$argon2id$test"),
        language: None,
    }
}

/// A hub with a keeper.
pub(crate) struct Hub {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) keeper: Viewer,
}

impl Hub {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, report) = Store::open(&dir.path().join("hub"), options()).unwrap();
        assert_eq!(report.findings, []);
        let keeper = store.claim("test-code", account("keeper"), "Test hub", "en").await.unwrap();
        let keeper = signed_in(&store, keeper.id).await;
        Self { dir, store, keeper }
    }

    /// Somebody with an account and a role.
    pub(crate) async fn person(&self, login: &str, role: Role) -> Viewer {
        let person = self.store.add_account(&self.keeper, account(login), role).await.unwrap();
        signed_in(&self.store, person.id).await
    }

    pub(crate) async fn notice(&self, viewer: &Viewer, title: &str) -> Record {
        self.store.create(viewer, Kind::Notice, None, notice(title), None).await.unwrap()
    }

    pub(crate) async fn project(&self, viewer: &Viewer, name: &str, open: bool) -> Record {
        let fields = fields([("name", name.into()), ("status", "active".into()), ("open", open.into())]);
        self.store.create(viewer, Kind::Project, None, fields, None).await.unwrap()
    }

    pub(crate) async fn member(&self, by: &Viewer, project: RecordId, person: &Viewer, role: &str) -> Record {
        let person = person.person().unwrap().to_string();
        let fields = fields([("person", person.into()), ("role", role.into())]);
        self.store.create(by, Kind::Membership, Some(project), fields, None).await.unwrap()
    }

    /// A document with this text as its file.
    pub(crate) async fn document(
        &self,
        by: &Viewer,
        project: Option<RecordId>,
        title: &str,
        text: &str,
    ) -> Record {
        let mut writer = self.store.blob_writer(1 << 20).unwrap();
        writer.write(text.as_bytes()).unwrap();
        let blob = writer.finish().unwrap();
        let fields = fields([
            ("title", title.into()),
            ("file", blob.to_string().into()),
            ("file_name", "a.txt".into()),
            ("media_type", "text/plain".into()),
        ]);
        self.store.create(by, Kind::Document, project, fields, None).await.unwrap()
    }
}

pub(crate) fn notice(title: &str) -> Fields {
    fields([("title", title.into()), ("level", "info".into())])
}

pub(crate) fn system() -> Viewer {
    Viewer::system(Part::Console)
}

pub(crate) async fn signed_in(store: &Store, person: RecordId) -> Viewer {
    let token = store.open_session(person, None).await.unwrap();
    store.viewer_for_session(&token).await.unwrap().unwrap()
}
