//! The scenario `load`: how long an event takes at steady rates, from little to what the service does not keep up with.
//!
//! A time runs from when the request was written to when the endpoint has read it. A generator that waits for answers
//! would hide a stall by sending less; so each rate also says how late its latest request was, and one that was sent too
//! late ends the curve as an arrival that came too late does.

use serde_json::{Value, json};

use crate::picture::{Axis, Chart, Scale, Series, linear_ticks, log_ticks};
use crate::setting::{Measured, SHAPE, Setting};

const RATES: [u32; 9] = [500, 1_000, 2_000, 4_000, 6_000, 8_000, 10_000, 12_000, 15_000];
/// An arrival or a request that is later has not kept up.
const TOO_LATE_MS: f64 = 1_000.0;
/// Of the events, this part must arrive in the time in which they were to be sent.
const ARRIVED: f64 = 0.95;

/// Each rate for so many seconds.
pub async fn load(seconds: u32) -> Value {
    let mut setting = Setting::with_webhooks(SHAPE).await;
    let warm_up = setting.plan(2000, None);
    setting.measure(&warm_up, warm_up.events).await;
    println!("load        events/s    arrived/s  p50 ms  p99 ms  max ms  sent late, ms");
    let mut points = Vec::new();
    for rate in RATES {
        let plan = setting.plan(u64::from(rate * seconds), Some(rate));
        let measured = setting.measure(&plan, plan.events).await;
        let keeps_up = keeps_up(rate, &measured);
        points.push(point(rate, &measured, keeps_up));
        if !keeps_up {
            break;
        }
    }
    json!(points)
}

fn keeps_up(rate: u32, measured: &Measured) -> bool {
    let late = measured.arrived.times.p99.max(measured.published.latest_ms);
    late <= TOO_LATE_MS && measured.deliveries_per_second >= ARRIVED * f64::from(rate)
}

fn point(rate: u32, measured: &Measured, keeps_up: bool) -> Value {
    let (times, late) = (measured.arrived.times, measured.published.latest_ms);
    println!(
        "           {rate:9} {:12.0} {:7.2} {:7.2} {:7.1} {late:14.1}{}",
        measured.deliveries_per_second,
        times.p50,
        times.p99,
        times.max,
        if keeps_up { "" } else { "  does not keep up" }
    );
    json!({
        "rate": rate,
        "arrivedPerSecond": measured.deliveries_per_second,
        "arrivalMs": times,
        "sentLateMs": late,
        "keepsUp": keeps_up,
    })
}

/// p50 and p99 against the rate, of what [`load`] answered: the rates that the service keeps up with.
pub fn chart(load: &Value) -> Chart {
    let kept: Vec<&Value> =
        load.as_array().into_iter().flatten().filter(|point| point["keepsUp"] == true).collect();
    let of = |which: &str| {
        let pair = |point: &&Value| Some((point["rate"].as_f64()?, point["arrivalMs"][which].as_f64()?));
        kept.iter().filter_map(pair).collect::<Vec<(f64, f64)>>()
    };
    let (p50, p99) = (of("p50"), of("p99"));
    let (least, most) = extent(p50.iter().chain(&p99).map(|(_, y)| *y));
    let (_, fastest) = extent(p50.iter().map(|(x, _)| *x));
    Chart {
        title: "From publish to arrival, at a steady rate",
        x: Axis { label: "events a second", scale: Scale::Linear, ticks: linear_ticks(fastest) },
        y: Axis { label: "milliseconds (log)", scale: Scale::Log, ticks: log_ticks(least, most) },
        series: vec![
            Series { name: "p50", color: "#0b5cad", dashes: "none", points: p50 },
            Series { name: "p99", color: "#b3261e", dashes: "none", points: p99 },
        ],
    }
}

/// The smallest and the largest of some values.
pub fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), value| (value.min(least), value.max(most)))
}
