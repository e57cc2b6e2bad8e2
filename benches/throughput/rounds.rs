//! Several rounds of one scenario: the median round, and how far apart the figures of all rounds are.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Carries out `round` that often. Answers the round in the middle by `figure`, with the spread of every figure if there
/// is more than one round.
pub async fn repeat(rounds: usize, name: &str, figure: &str, round: impl AsyncFn() -> Value) -> Value {
    let mut all = Vec::new();
    for _ in 0..rounds {
        all.push(round().await);
    }
    let main = |round: &Value| figures(round).get(figure).copied().unwrap_or_default();
    all.sort_by(|a, b| main(a).total_cmp(&main(b)));
    let mut median = all[all.len() / 2].clone();
    if rounds > 1 {
        let spread = spread(&all);
        print(name, rounds, &spread);
        median["spread"] = json!(spread);
    }
    median
}

/// The smallest, the middle and the largest value of one figure.
type Spread = BTreeMap<String, Value>;

fn spread(rounds: &[Value]) -> Spread {
    let mut values = BTreeMap::<String, Vec<f64>>::new();
    for (name, value) in rounds.iter().flat_map(figures) {
        values.entry(name).or_default().push(value);
    }
    let of_one = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        json!({ "min": values[0], "median": values[values.len() / 2], "max": values[values.len() - 1] })
    };
    values.into_iter().map(|(name, values)| (name, of_one(values))).collect()
}

fn print(name: &str, rounds: usize, spread: &Spread) {
    println!("{name:10} {:26} {:>10} {:>10} {:>10}", format!("of {rounds} rounds"), "min", "median", "max");
    for (figure, values) in spread {
        let [min, median, max] =
            ["min", "median", "max"].map(|which| values[which].as_f64().unwrap_or_default());
        println!("{:10} {figure:26} {min:10.2} {median:10.2} {max:10.2}", "");
    }
}

/// Every number of a result, by its path: `arrivalMs.p50`.
fn figures(result: &Value) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    collect(result, String::new(), &mut found);
    found
}

fn collect(value: &Value, path: String, found: &mut BTreeMap<String, f64>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| collect(value, below(name), found));
        }
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(n, value)| collect(value, below(&n.to_string()), found));
        }
        _ => found.extend(value.as_f64().map(|number| (path, number))),
    }
}
