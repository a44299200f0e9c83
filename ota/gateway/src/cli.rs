//! What the command line says, and what is done about it.

use std::{io::Read, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use cairn_gateway::{
    cluster::Cluster,
    db::Db,
    fleet::accounts,
    http::Service,
    limits::Limits,
    migrate::migrate,
    serve::serve,
    store::{hubs, records, reports},
};
use cairn_record_api::cors::Allowed;
use cairn_sync::{CommunityId, RecordId};
use clap::{Args, Parser, Subcommand};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// The cloud side of Cairn: records of many communities over PostgreSQL.
#[derive(Parser)]
#[command(name = "cairn-gateway", version)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring the database up to date, as its owner. Run it before a new version serves. Sets the password of the role
    /// cairn_app to CAIRN_GATEWAY_APP_PASSWORD where that variable is set.
    Migrate {
        #[command(flatten)]
        owner: Owner,
    },
    /// Serve hubs, until SIGTERM.
    Serve {
        #[command(flatten)]
        database: Database,
        /// Where to listen. Put a load balancer that ends TLS in front of it.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        #[command(flatten)]
        bounds: Bounds,
    },
    /// Communities.
    #[command(subcommand)]
    Community(Community),
    /// Tokens.
    #[command(subcommand)]
    Token(Token),
    /// People who look after hubs in the browser.
    #[command(subcommand)]
    Maintainer(Maintainer),
    /// What hubs said of system versions, as `cairn-publish watch --reports -` reads it: one JSON array.
    Updates {
        #[command(flatten)]
        database: Database,
        /// Communities; where none is named, all that somebody looks after on the fleet page.
        communities: Vec<CommunityId>,
    },
    /// A gateway for trying out: a PostgreSQL of its own in a new folder, a community, a token. Ends, and is gone, with
    /// Ctrl-C.
    Dev {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

#[derive(Args)]
struct Database {
    /// The database, as the role cairn_app: postgres://… Where it is not given, the variable CAIRN_GATEWAY_DATABASE says it,
    /// so that a password need not stand in a list of processes.
    #[arg(long)]
    database: Option<String>,
}

impl Database {
    fn url(self) -> anyhow::Result<String> {
        given(self.database, "CAIRN_GATEWAY_DATABASE")
    }
}

#[derive(Args)]
struct Owner {
    /// The database, as its owner: postgres://… Where it is not given, the variable CAIRN_GATEWAY_OWNER_DATABASE says it.
    #[arg(long = "database")]
    owner_database: Option<String>,
}

impl Owner {
    fn url(self) -> anyhow::Result<String> {
        given(self.owner_database, "CAIRN_GATEWAY_OWNER_DATABASE")
    }
}

fn given(option: Option<String>, variable: &str) -> anyhow::Result<String> {
    match option {
        Some(url) => Ok(url),
        None => std::env::var(variable).with_context(|| format!("give --database or set {variable}")),
    }
}

#[derive(Args)]
struct Bounds {
    /// Connections to the database.
    #[arg(long, default_value_t = 24)]
    connections: u32,
    /// Requests that use the database at once; further ones are told to come back.
    #[arg(long, default_value_t = 128)]
    in_flight: usize,
    /// Held streams.
    #[arg(long, default_value_t = 20_000)]
    streams: usize,
    /// An origin whose pages may use the record API from a browser, for example https://pages.example.org; once for each.
    /// Where none is given, those in the variable CAIRN_GATEWAY_ORIGINS, parted by commas.
    #[arg(long = "allow-origin")]
    allow_origins: Vec<String>,
}

/// The origins on the command line, or those in the environment.
fn trusted(given: Vec<String>) -> anyhow::Result<Allowed> {
    let origins = if given.is_empty() {
        let said = std::env::var("CAIRN_GATEWAY_ORIGINS").unwrap_or_default();
        said.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(str::to_owned).collect()
    } else {
        given
    };
    Allowed::new(origins).map_err(anyhow::Error::msg)
}

#[derive(Subcommand)]
enum Community {
    /// Make one.
    Add {
        #[command(flatten)]
        database: Database,
        /// Its name, for people.
        name: String,
    },
}

#[derive(Subcommand)]
enum Token {
    /// Make a token that enrols one hub. It is shown once.
    Enrol {
        #[command(flatten)]
        database: Database,
        /// The community.
        community: CommunityId,
        /// For people: which hub it is for.
        #[arg(long, default_value = "")]
        label: String,
        /// Days until it expires.
        #[arg(long, default_value_t = hubs::TOKEN_DAYS)]
        days: u32,
        /// Only these projects; every project where none is named.
        #[arg(long = "project")]
        projects: Vec<RecordId>,
    },
    /// Make a token with which a program uses the record API in a person's name. It is shown once.
    Api {
        #[command(flatten)]
        database: Database,
        /// The community.
        community: CommunityId,
        /// The person, by their record's id.
        person: RecordId,
        /// For people: what it is for.
        #[arg(long, default_value = "")]
        label: String,
        /// Days until it expires, at most 366.
        #[arg(long, default_value_t = records::TOKEN_DAYS)]
        days: u32,
        /// It may read, and change nothing.
        #[arg(long)]
        read_only: bool,
    },
}

#[derive(Subcommand)]
enum Maintainer {
    /// Make an account, or set its password and communities anew. The password is read from standard input.
    Set {
        #[command(flatten)]
        owner: Owner,
        /// The name to sign in with.
        login: String,
        /// The communities that the person looks after.
        #[arg(required = true)]
        communities: Vec<CommunityId>,
    },
}

#[tokio::main]
pub(crate) async fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("CAIRN_LOG").unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    match cli.command {
        Verb::Migrate { owner } => {
            let steps =
                migrate(&owner.url()?, std::env::var("CAIRN_GATEWAY_APP_PASSWORD").ok().as_deref()).await?;
            println!("{steps} steps run");
        }
        Verb::Serve { database, listen, bounds } => {
            let listener =
                TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
            let limits = Limits { in_flight: bounds.in_flight, streams: bounds.streams, ..Limits::default() };
            let trusted = trusted(bounds.allow_origins)?;
            run_instance(listener, &database.url()?, bounds.connections, limits, trusted).await?;
        }
        Verb::Community(Community::Add { database, name }) => {
            let db = Db::connect(&database.url()?, 1).await?;
            println!("{}", hubs::add_community(&db, &name).await?);
        }
        Verb::Token(Token::Enrol { database, community, label, days, projects }) => {
            let db = Db::connect(&database.url()?, 1).await?;
            let projects = (!projects.is_empty()).then_some(projects);
            let token = hubs::add_token(&db, community, &label, projects.as_deref(), days).await?;
            println!("{}", token.reveal());
        }
        Verb::Token(Token::Api { database, community, person, label, days, read_only }) => {
            let db = Db::connect(&database.url()?, 1).await?;
            let new = records::NewToken { person, label: &label, may_write: !read_only, days };
            println!("{}", records::add_token(&db, community, &new).await?.reveal());
        }
        Verb::Maintainer(Maintainer::Set { owner, login, communities }) => {
            let mut password = String::new();
            std::io::stdin().take(4_096).read_to_string(&mut password)?;
            accounts::set(&owner.url()?, &login, password.trim_end_matches('\n'), &communities).await?;
        }
        Verb::Updates { database, communities } => {
            let db = Db::connect(&database.url()?, 1).await?;
            let communities =
                if communities.is_empty() { accounts::looked_after(&db).await? } else { communities };
            let mut figures = Vec::new();
            for community in communities {
                figures.extend(reports::update_figures(&db, community).await?);
            }
            println!("{}", serde_json::to_string(&reports::together(figures))?);
        }
        Verb::Dev { listen } => dev(listen).await?,
    }
    Ok(())
}

async fn run_instance(
    listener: TcpListener,
    database: &str,
    connections: u32,
    limits: Limits,
    trusted: Allowed,
) -> anyhow::Result<()> {
    let db = Db::connect(database, connections).await?;
    let drain = CancellationToken::new();
    let service = Service::start(db, limits, trusted, drain.clone()).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining");
        drain.cancel();
    });
    tracing::info!(address = %listener.local_addr()?, "serving");
    serve(listener, service).await?;
    Ok(())
}

async fn dev(listen: SocketAddr) -> anyhow::Result<()> {
    let folder: PathBuf = std::env::temp_dir().join(format!("cairn-gateway-{}", std::process::id()));
    let cluster = Cluster::start(&folder).context("starting PostgreSQL")?;
    migrate(&cluster.url("owner"), None).await?;
    let db = Db::connect(&cluster.url("cairn_app"), 2).await?;
    let community = hubs::add_community(&db, "Try-out").await?;
    let token = hubs::add_token(&db, community, "try-out", None, hubs::TOKEN_DAYS).await?;
    let password = cairn_sync::http::Secret::from_random({
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
        bytes
    })
    .reveal();
    let password: String = password.chars().take(16).collect();
    accounts::set(&cluster.url("owner"), "maintainer", &password, &[community]).await?;
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    println!("gateway   http://{address}");
    println!("token     {}", token.reveal());
    println!("fleet     http://{address}/fleet   maintainer / {password}");
    println!("a hub     cairn enrol http://{address} {} --plain-loopback --data FOLDER", token.reveal());
    println!(
        "another token: cairn-gateway token enrol {community} --database '{}'",
        cluster.url("cairn_app")
    );
    run_instance(listener, &cluster.url("cairn_app"), 24, Limits::default(), Allowed::default()).await?;
    drop(cluster);
    Ok(())
}
