//! What the pages load: one style sheet, a picture for the tab, and small scripts that make pages handier but are never needed
//! to read one. All of it lies in the program.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::Error;
use crate::api::files::{File, answer};

/// One sheet, whose parts lie beside what they dress.
const STYLE: &str = concat!(
    include_str!("assets/base.css"),
    include_str!("assets/webhooks.css"),
    include_str!("assets/figures.css"),
    include_str!("assets/deliveries.css"),
    include_str!("assets/trial.css"),
    include_str!("assets/verify.css"),
);

/// The scripts, by name.
const SCRIPTS: [(&str, &str); 6] = [
    ("copy.js", include_str!("assets/copy.js")),
    ("deliveries.js", include_str!("assets/deliveries.js")),
    ("refresh.js", include_str!("assets/refresh.js")),
    ("sign-in.js", include_str!("assets/sign-in.js")),
    ("trial.js", include_str!("assets/trial.js")),
    ("webhook-form.js", include_str!("assets/webhook-form.js")),
];

static FILES: LazyLock<Vec<(&str, File)>> = LazyLock::new(|| {
    let script = |(name, text): (&'static str, &'static str)| {
        (name, File::new("text/javascript; charset=utf-8", text.as_bytes()))
    };
    let mut all: Vec<(&str, File)> = SCRIPTS.into_iter().map(script).collect();
    all.push(("style.css", File::new("text/css; charset=utf-8", STYLE.as_bytes())));
    let icon = include_bytes!("assets/icon.svg").as_slice();
    all.push(("icon.svg", File::new("image/svg+xml", icon)));
    all
});

/// `GET /dashboard/assets/{name}`
///
/// # Errors
/// 404 for what no page loads.
pub async fn file(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Error> {
    let found = FILES.iter().find(|(known, _)| *known == name.as_str()).ok_or(Error::NotFound("file"))?;
    Ok(answer(&request, &found.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_names_another_host_or_makes_code_of_text() {
        for text in SCRIPTS.into_iter().map(|(_, text)| text).chain([STYLE]) {
            for forbidden in ["http:", "https:", "//cdn", "@import", "eval(", "innerHTML", "document.write"] {
                assert!(!text.contains(forbidden), "{forbidden}");
            }
        }
    }
}
