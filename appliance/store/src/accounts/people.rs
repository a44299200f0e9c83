//! Accounts: person records with a login and a password's hash.

use cairn_sync::{Kind, RecordId, Role, Value};
use rusqlite::{OptionalExtension, params};

use super::{Invitation, InvitationCode, Login, NewAccount, SignUp, code};
use crate::{
    db::writer::{Desk, Lane},
    error::{Result, StoreError},
    record::Record,
    records::{
        access::Eyes,
        codec::{id, id_or_none, role_code, role_name, role_of},
        write::{fields, make},
    },
    settings::{Secret, language_tag, read_settings},
    store::Store,
    viewer::{Part, Viewer},
};

/// Shortest and longest login, in characters.
const LOGIN_LEN: std::ops::RangeInclusive<usize> = 2..=40;
/// Longest password hash, in bytes (a PHC string is about 100).
const MAX_HASH: usize = 512;
/// Characters of an invitation: 60 bits.
const INVITATION_LEN: usize = 12;
/// Longest validity of an invitation: 90 days.
pub(crate) const MAX_INVITATION_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// Most invitations open at once.
const MAX_INVITATIONS: u64 = 1000;

/// A login as it is kept: lower case, letters, digits, ".", "-" and "_".
pub(crate) fn login(text: &str) -> Result<String> {
    let login = text.trim().to_lowercase();
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    if LOGIN_LEN.contains(&login.chars().count()) && login.chars().all(fits) {
        Ok(login)
    } else {
        Err(StoreError::invalid(format!(
            "A sign-in name has {} to {} letters or digits, with \".\", \"-\", \"_\" or \"@\" between them.",
            LOGIN_LEN.start(),
            LOGIN_LEN.end()
        )))
    }
}

fn hash_fits(hash: &Secret) -> Result<()> {
    let text = hash.reveal();
    if text.is_empty() || text.len() > MAX_HASH || !text.is_ascii() {
        return Err(StoreError::invalid("The password's hash has no form that can be kept."));
    }
    Ok(())
}

/// Makes the person and the credentials. Whether this may be is decided by the caller.
pub(crate) fn open_account(desk: &mut Desk<'_>, account: NewAccount, role: Role) -> Result<Record> {
    let login = login(&account.login)?;
    hash_fits(&account.password_hash)?;
    let taken: bool = desk
        .connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM credentials WHERE login = ?1)")?
        .query_row([&login], |row| row.get(0))?;
    if taken {
        return Err(StoreError::LoginTaken(login));
    }
    let language = match account.language {
        Some(language) => language,
        None => read_settings(desk.connection)?.language,
    };
    language_tag(&language)?;
    let named = fields([
        ("name", Value::from(account.name.trim())),
        ("login", Value::from(login.as_str())),
        ("role", Value::from(role_name(role))),
        ("language", Value::from(language)),
    ]);
    let eyes = Eyes::of(desk.connection, &Viewer::system(Part::Console))?;
    let person = make(desk, eyes, Kind::Person, None, named, None)?;
    desk.connection
        .prepare_cached("INSERT INTO credentials (person, login, password_hash) VALUES (?1, ?2, ?3)")?
        .execute(params![person.id.as_bytes(), login, account.password_hash.reveal()])?;
    super::keepers::settle(desk.connection)?;
    Ok(person)
}

fn only_keepers(eyes: Eyes, action: &'static str, what: &'static str) -> Result<()> {
    if eyes.is_keeper() { Ok(()) } else { Err(StoreError::Forbidden { action, what }) }
}

impl Store {
    /// Opens an account for whoever has an invitation, or for anyone where the hub's settings allow it (as a
    /// volunteer).
    ///
    /// # Errors
    /// [`StoreError::CodeRefused`], [`StoreError::LoginTaken`], or what is wrong with the account's data.
    pub async fn sign_up(&self, account: NewAccount, by: SignUp) -> Result<Record> {
        self.write(Lane::Person, move |desk| {
            if !super::claim::is_claimed(desk.connection)? {
                return Err(StoreError::CodeRefused("This hub is not set up yet."));
            }
            let role = match by {
                SignUp::Open if read_settings(desk.connection)?.open_sign_up => Role::Volunteer,
                SignUp::Open => {
                    return Err(StoreError::CodeRefused("This hub takes new people by invitation only."));
                }
                SignUp::Invitation(invitation) => {
                    let hash = code::hash(&code::as_typed(invitation.as_str()));
                    desk.connection
                        .prepare_cached(
                            "DELETE FROM invitations WHERE hash = ?1 AND expires_life > ?2 RETURNING role",
                        )?
                        .query_row(params![hash, desk.life.now_ms()], |row| row.get(0).map(role_of))
                        .optional()?
                        .ok_or(StoreError::CodeRefused("This invitation is not valid or was used already."))?
                }
            };
            open_account(desk, account, role)
        })
        .await
    }

    /// Opens an account for somebody else.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] unless `viewer` is a keeper; else as [`Store::sign_up`].
    pub async fn add_account(&self, viewer: &Viewer, account: NewAccount, role: Role) -> Result<Record> {
        let viewer = viewer.clone();
        self.write(Lane::Person, move |desk| {
            only_keepers(Eyes::of(desk.connection, &viewer)?, "open", "account")?;
            open_account(desk, account, role)
        })
        .await
    }

    /// Invites somebody, for one use within `valid_ms`.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] unless `viewer` is a keeper.
    pub async fn invite(&self, viewer: &Viewer, role: Role, valid_ms: u64) -> Result<InvitationCode> {
        if valid_ms == 0 || valid_ms > MAX_INVITATION_MS {
            return Err(StoreError::invalid("An invitation is valid for at most 90 days."));
        }
        let viewer = viewer.clone();
        let code = code::readable(INVITATION_LEN)?;
        let hash = code::hash(&code);
        self.write(Lane::Person, move |desk| {
            let eyes = Eyes::of(desk.connection, &viewer)?;
            only_keepers(eyes, "invite", "person")?;
            let now = desk.life.now_ms();
            desk.connection.execute("DELETE FROM invitations WHERE expires_life <= ?1", [now])?;
            let open: u64 = desk.connection.query_row("SELECT count(*) FROM invitations", [], |row| row.get(0))?;
            if open >= MAX_INVITATIONS {
                return Err(StoreError::invalid(format!("At most {MAX_INVITATIONS} invitations can be open.")));
            }
            desk.connection.execute(
                "INSERT INTO invitations (hash, role, author, created_at, expires_life) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![hash, role_code(role), eyes.viewer(), desk.life.wall_ms(), later(now, valid_ms)],
            )?;
            desk.checkpoint_life()
        })
        .await?;
        let shown = code.as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join("-");
        Ok(InvitationCode(shown))
    }

    /// The invitations that were not used yet.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] unless `viewer` is a keeper.
    pub async fn invitations(&self, viewer: &Viewer) -> Result<Vec<Invitation>> {
        let (viewer, now) = (viewer.clone(), self.inner.life.now_ms());
        self.ask(move |connection| {
            only_keepers(Eyes::of(connection, &viewer)?, "see", "list of invitations")?;
            let sql = "SELECT id, role, author, created_at, expires_life FROM invitations WHERE expires_life > ?1 \
                       ORDER BY id DESC";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([now], |row| {
                Ok(Invitation {
                    id: row.get(0)?,
                    role: role_of(row.get(1)?),
                    by: id_or_none(row, 2)?,
                    created_at_ms: row.get(3)?,
                    left_ms: left(row.get(4)?, now),
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Takes an invitation back.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] unless `viewer` is a keeper; [`StoreError::NotFound`] when there is none.
    pub async fn revoke_invitation(&self, viewer: &Viewer, id: u64) -> Result<()> {
        let viewer = viewer.clone();
        self.write(Lane::Person, move |desk| {
            only_keepers(Eyes::of(desk.connection, &viewer)?, "take back", "invitation")?;
            match desk.connection.execute("DELETE FROM invitations WHERE id = ?1", [id])? {
                0 => Err(StoreError::NotFound("invitation")),
                _ => Ok(()),
            }
        })
        .await
    }

    /// The role that an invitation gives; `None` when it is not valid.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn invitation_role(&self, invitation: &InvitationCode) -> Result<Option<Role>> {
        let hash = code::hash(&code::as_typed(invitation.as_str()));
        let now = self.inner.life.now_ms();
        self.ask(move |connection| {
            let sql = "SELECT role FROM invitations WHERE hash = ?1 AND expires_life > ?2";
            Ok(connection
                .prepare_cached(sql)?
                .query_row(params![hash, now], |row| row.get(0).map(role_of))
                .optional()?)
        })
        .await
    }

    /// What signing in needs to know about a login; for that alone.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_login(&self, name: &str) -> Result<Option<Login>> {
        let Ok(name) = login(name) else { return Ok(None) };
        self.ask(move |connection| {
            let sql = "SELECT c.person, c.password_hash, p.disabled FROM credentials c \
                       JOIN people p ON p.id = c.person WHERE c.login = ?1";
            Ok(connection
                .prepare_cached(sql)?
                .query_row([name], |row| {
                    Ok(Login {
                        person: id(row, 0)?,
                        password_hash: Secret::new(row.get::<_, String>(1)?),
                        disabled: row.get(2)?,
                    })
                })
                .optional()?)
        })
        .await
    }

    /// Sets a new password's hash; every session of the person ends.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] unless it is `viewer`'s own or `viewer` is a keeper.
    pub async fn set_password_hash(&self, viewer: &Viewer, person: RecordId, hash: Secret) -> Result<()> {
        hash_fits(&hash)?;
        let viewer = viewer.clone();
        self.write(Lane::Person, move |desk| {
            let eyes = Eyes::of(desk.connection, &viewer)?;
            if eyes.person != Some(person) {
                only_keepers(eyes, "change", "password")?;
            }
            let sql = "UPDATE credentials SET password_hash = ?2 WHERE person = ?1";
            if desk.connection.execute(sql, params![person.as_bytes(), hash.reveal()])? == 0 {
                return Err(StoreError::NotFound("account"));
            }
            desk.connection.execute("DELETE FROM sessions WHERE person = ?1", [person.as_bytes()])?;
            Ok(())
        })
        .await
    }
}

/// A moment on the life clock `ms` after `now`.
pub(crate) fn later(now: i64, ms: u64) -> i64 {
    now.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// How much is left until `expires`, both on the life clock.
pub(crate) fn left(expires: i64, now: i64) -> u64 {
    u64::try_from(expires.saturating_sub(now)).unwrap_or(0)
}
