//! One headless Chromium, driven through ChromeDriver.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, anyhow};
use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// How long the page may take to show what a test waits for, on a busy machine.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// A browser with an empty profile. Dropping it ends it.
pub(crate) struct Browser {
    page: Client,
    shown_within: Duration,
    _driver: Child,
    _profile: TempDir,
}

impl Browser {
    /// Starts Chromium at phone size, so that what a test clicks is what a phone shows.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_patient(SHOWN_WITHIN).await
    }

    /// As [`Browser::start`], for a hub that may take this long to show something.
    pub(crate) async fn start_patient(shown_within: Duration) -> Result<Self> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("chromedriver cannot be started; `cargo xtask setup` installs it")?;
        let port = tokio::time::timeout(SHOWN_WITHIN, port_of(&mut driver)).await??;
        let profile = TempDir::with_prefix("cairn-browser-")?;
        let options = json!({
            "binary": chromium()?,
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--lang=en", "--window-size=360,800",
                format!("--user-data-dir={}", profile.path().display()),
            ],
        });
        let capabilities = json!({ "goog:chromeOptions": options });
        let Value::Object(capabilities) = capabilities else { return Err(anyhow!("not an object")) };
        let page = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await?;
        Ok(Self { page, shown_within, _driver: driver, _profile: profile })
    }

    /// Opens an address.
    pub(crate) async fn open(&self, url: &str) -> Result<()> {
        Ok(self.page.goto(url).await?)
    }

    /// The element that a CSS selector names, as soon as it is there.
    pub(crate) async fn element(&self, css: &str) -> Result<Element> {
        self.page
            .wait()
            .at_most(self.shown_within)
            .for_element(Locator::Css(css))
            .await
            .with_context(|| format!("{css} did not appear"))
    }

    /// Types into a field, replacing what stands there.
    pub(crate) async fn fill(&self, css: &str, text: &str) -> Result<()> {
        let field = self.element(css).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    /// Clicks, after scrolling it into view.
    pub(crate) async fn click(&self, css: &str) -> Result<()> {
        let element = self.element(css).await?;
        // To the middle: at the edges the page's own bars may cover it.
        let arguments = vec![serde_json::to_value(&element)?];
        self.page.execute("arguments[0].scrollIntoView({ block: 'center' })", arguments).await?;
        element.click().await.with_context(|| format!("{css} cannot be clicked"))
    }

    /// Waits until the page's visible text holds `text`.
    pub(crate) async fn shows(&self, text: &str) -> Result<()> {
        let what = format!("the page shows {text:?}");
        let seen = cairn_tests::wait::until(&what, self.shown_within, async || {
            let body = self.text().await.ok()?;
            body.contains(text).then_some(())
        });
        match seen.await {
            Ok(()) => Ok(()),
            Err(error) => {
                Err(error.context(format!("the page shows:\n{}", self.text().await.unwrap_or_default())))
            }
        }
    }

    /// The page's visible text.
    pub(crate) async fn text(&self) -> Result<String> {
        Ok(self.page.find(Locator::Css("body")).await?.text().await?)
    }

    /// The address that is open.
    pub(crate) async fn address(&self) -> Result<String> {
        Ok(self.page.current_url().await?.to_string())
    }

    /// Everything else that WebDriver offers.
    pub(crate) const fn page(&self) -> &Client {
        &self.page
    }
}

async fn port_of(driver: &mut Child) -> Result<u16> {
    let output = driver.stdout.take().context("chromedriver has no output")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some((_, port)) = line.split_once("successfully on port ") {
            return Ok(port.trim_end_matches('.').parse()?);
        }
    }
    Err(anyhow!("chromedriver ended without saying its port"))
}

fn chromium() -> Result<String> {
    let path = std::env::var_os("PATH").context("PATH is not set")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("chromium"))
        .find(|file| file.exists())
        .map(|file| file.display().to_string())
        .context("chromium is not installed; `cargo xtask setup` installs it")
}
