//! Somebody who opens the pages: a browser without scripts, as far as the pages can tell.

use reqwest::Method;

use super::{Address, Answer, Client};

const FORM: &str = "application/x-www-form-urlencoded";

/// One browser.
#[derive(Clone, Debug)]
pub struct Visitor {
    http: Client,
    /// The cookie of the session, as a browser sends it.
    pub cookie: String,
}

/// The value of the field of that name on a page.
pub fn hidden<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    after.split_once('"').map(|(value, _)| value)
}

fn cookie_of(answer: &Answer, name: &str) -> Option<String> {
    let all = answer.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok());
    let mut pairs = all.filter_map(|line| line.split(';').next());
    pairs.find(|pair| pair.starts_with(&format!("{name}="))).map(str::to_owned)
}

/// Fields as a browser writes them.
fn encoded(fields: &[(&str, &str)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(fields).finish()
}

impl Visitor {
    /// Signs in; gives the answer to the form too.
    pub async fn sign_in(address: &Address, token: &str) -> (Self, Answer) {
        let http = Client::new(address, String::new());
        let page = http.get("/dashboard/sign-in").await;
        let guard = cookie_of(&page, "salesos_webhooks_sign_in").expect("the form is guarded");
        let mark = hidden(&page.body, "csrf").expect("the form is marked");
        let form = encoded(&[("csrf", mark), ("token", token), ("next", "/dashboard")]);
        let call = http.call(Method::POST, "/dashboard/sign-in").header("Cookie", &guard);
        let answer = call.raw(FORM, &form).send().await;
        let cookie = cookie_of(&answer, "salesos_webhooks_session").unwrap_or_default();
        (Self { http, cookie }, answer)
    }

    /// The same browser at another node.
    pub fn at(&self, address: &Address) -> Self {
        Self { http: self.http.at(address), ..self.clone() }
    }

    /// Opens a page.
    pub async fn open(&self, path: &str) -> Answer {
        self.http.call(Method::GET, path).header("Cookie", &self.cookie).send().await
    }

    /// Sends a form that stands on a page of its session.
    pub async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.open("/dashboard").await;
        let mark = hidden(&page.body, "csrf").unwrap_or_default();
        let marked: Vec<_> = [("csrf", mark)].into_iter().chain(fields.iter().copied()).collect();
        self.send_unmarked(path, &marked).await
    }

    /// Sends these fields and no others.
    pub async fn send_unmarked(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let call = self.http.call(Method::POST, path).header("Cookie", &self.cookie);
        call.raw(FORM, &encoded(fields)).send().await
    }
}
