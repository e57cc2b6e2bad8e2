//! What the pages load: one style sheet, a picture for the tab, and small scripts that make pages handier but are never needed
//! to read one. All of it lies in the program.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, web};

use crate::api::Error;
use crate::api::files::{File, answer};

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

static FILES: LazyLock<Vec<(&str, File)>> = LazyLock::new(|| {
    // One sheet, whose parts lie beside what they dress.
    let style = concat!(include_str!("assets/base.css"), include_str!("assets/webhooks.css"));
    vec![
        ("style.css", File::new(STYLE, style.as_bytes())),
        ("icon.svg", File::new("image/svg+xml", include_bytes!("assets/icon.svg").as_slice())),
        ("copy.js", File::new(SCRIPT, include_bytes!("assets/copy.js").as_slice())),
        ("webhook-form.js", File::new(SCRIPT, include_bytes!("assets/webhook-form.js").as_slice())),
        ("sign-in.js", File::new(SCRIPT, include_bytes!("assets/sign-in.js").as_slice())),
    ]
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
    fn nothing_names_another_host() {
        let sheets = [include_str!("assets/base.css"), include_str!("assets/webhooks.css")];
        let scripts = [
            include_str!("assets/copy.js"),
            include_str!("assets/sign-in.js"),
            include_str!("assets/webhook-form.js"),
        ];
        for text in scripts.into_iter().chain(sheets) {
            for forbidden in ["http:", "https:", "//cdn", "@import", "eval(", "innerHTML"] {
                assert!(!text.contains(forbidden), "{forbidden}");
            }
        }
        assert!(FILES.len() > 3);
    }
}
