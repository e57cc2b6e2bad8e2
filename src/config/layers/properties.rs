//! What holds of every file and every environment: nothing panics, every fault names what it is about, no secret is shown.

use proptest::prelude::*;
use toml::{Table, Value};

use super::*;
use crate::config::catalogue;
use crate::config::check::{Files, check};
use crate::config::keys::KeyFiles;
use crate::config::load::Machine;
use crate::domain::arbitrary::{config, damaged, texts};

const SECRET: &str = "hunter2-hunter2-hunter2-hunter2-hunter2";

fn leaves() -> impl Strategy<Value = Value> {
    let one = prop_oneof![
        any::<i64>().prop_map(Value::from),
        (-2..70_000_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        texts().prop_map(Value::from),
        prop::sample::select(
            &["*", "10.0.0.0/8", "https://a.example", "redis://u:p@h/1", "info", "cluster"][..]
        )
        .prop_map(Value::from),
        Just(Value::from(SECRET)),
    ];
    prop_oneof![4 => one.clone(), 1 => prop::collection::vec(one, 0..3).prop_map(Value::from)]
}

/// Keys that there are, and some that there are not, with any values.
fn settings() -> impl Strategy<Value = Vec<(String, Value)>> {
    let known = Layers::default().keys();
    let key = prop_oneof![9 => prop::sample::select(known), 1 => "[a-z]{1,6}\\.[a-z_]{1,9}"];
    prop::collection::vec((key, leaves()), 0..12)
}

fn file_of(settings: &[(String, Value)]) -> String {
    let mut file = Table::new();
    for (key, value) in settings {
        let (section, name) = key.split_once('.').expect("a section and a name");
        let section = file.entry(section).or_insert_with(|| Table::new().into());
        section.as_table_mut().expect("made above").insert(name.to_owned(), value.clone());
    }
    toml::to_string(&file).expect("a table of plain values")
}

fn checked(layers: &Layers) -> Result<(), Vec<String>> {
    let mut raw = layers.raw();
    // What lies in files of this machine is another matter.
    raw.events.catalogue_file.clear();
    let machine = Machine { cores: 2, node_id: "made".parse().expect("an id") };
    let catalogue = catalogue::parse("built in", catalogue::EMBEDDED);
    let files = Files { catalogue, keys: KeyFiles { public_key: Ok(None), jwks: Ok(None) } };
    let checked = check(layers, raw, files, &machine);
    checked.map(|_| ()).map_err(|faults| faults.0.iter().map(ToString::to_string).collect())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_settings_are_taken_or_refused_by_name(settings in settings()) {
        let mut layers = Layers::default();
        layers.put_text("my.toml", &file_of(&settings));
        if let Err(faults) = checked(&layers) {
            prop_assert!(!faults.is_empty());
            for fault in faults {
                let is_named = fault.contains('.') || fault.starts_with('[');
                prop_assert!(is_named && fault.contains(": "), "{fault}");
                prop_assert!(fault.len() < 2000, "{fault}");
            }
        }
    }

    #[test]
    fn the_environment_says_what_a_file_says(settings in settings()) {
        let texts = settings.iter().filter(|(_, value)| !matches!(value, Value::Array(_)));
        let variables: Vec<(String, String)> = texts
            .map(|(key, value)| {
                let name = format!("WEBHOOKS_{}", key.replace('.', "__").to_uppercase());
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (name, text)
            })
            .collect();
        let mut layers = Layers::default();
        layers.put_environment(variables.into_iter());
        if let Err(faults) = checked(&layers) {
            prop_assert!(faults.iter().all(|fault| !fault.is_empty()));
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_a_fault_and_nothing_of_it_is_shown(
        text in damaged(format!("[auth]\njwt_secret = \"{SECRET}\"\n[server]\nport = 1\n").into_bytes()),
    ) {
        let mut layers = Layers::default();
        layers.put_text("my.toml", &String::from_utf8_lossy(&text));
        let faults = checked(&layers).err().unwrap_or_default().join("\n");
        prop_assert!(!faults.contains("hunter2-hunter2"), "{faults}");
    }

    #[test]
    fn a_secret_is_not_shown_whatever_else_is_wrong(settings in settings(), secret in "[ -~]{24,31}") {
        let mut layers = Layers::default();
        layers.put_text("my.toml", &file_of(&settings));
        layers.put_environment([("WEBHOOKS_AUTH__JWT_SECRET".to_owned(), secret.clone())].into_iter());
        let faults = checked(&layers).expect_err("it is too short").join("\n");
        prop_assert!(faults.contains("auth.jwt_secret") && !faults.contains(&secret), "{faults}");
    }
}
