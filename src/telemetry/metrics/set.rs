//! Registers metrics, and remembers what it was told of each, so that the reference is written from the code.

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// What every name begins with.
pub(super) const PREFIX: &str = "salesos_webhooks";

/// Upper bounds of the duration buckets, in seconds.
pub(super) const SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// A label and every value that it can have, all of which exist from the start; none = they are told later, and bounded
/// by what `values` of the description says.
#[derive(Clone)]
pub(super) struct Label {
    pub(super) name: &'static str,
    pub(super) values: Vec<&'static str>,
    pub(super) otherwise: &'static str,
}

/// A label whose values are all known.
pub(super) fn of(name: &'static str, values: impl IntoIterator<Item = &'static str>) -> Label {
    Label { name, values: values.into_iter().collect(), otherwise: "" }
}

/// A label whose values are described.
pub(super) fn told_later(name: &'static str, otherwise: &'static str) -> Label {
    Label { name, values: Vec::new(), otherwise }
}

/// What sort of metric it is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets, in seconds.
    Histogram(&'static [f64]),
}

/// What the reference says of one metric.
pub(super) struct Described {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) labels: Vec<Label>,
    pub(super) help: String,
}

/// Metrics as they are made.
pub(super) struct Set {
    registry: Registry,
    described: Vec<Described>,
}

const UNIQUE: &str = "the name is well formed and used once";

impl Set {
    pub(super) fn new() -> Self {
        let registry = Registry::new_custom(Some(PREFIX.to_owned()), None).expect("the prefix is not empty");
        Self { registry, described: Vec::new() }
    }

    /// The registry, and what is in it.
    pub(super) fn done(self) -> (Registry, Vec<Described>) {
        (self.registry, self.described)
    }

    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> IntCounter {
        let counter = IntCounter::new(name, help).expect(UNIQUE);
        self.add(&counter, Kind::Counter, Vec::new())
    }

    pub(super) fn counters(
        &mut self,
        name: &'static str,
        labels: Vec<Label>,
        help: &'static str,
    ) -> IntCounterVec {
        let counters = IntCounterVec::new(Opts::new(name, help), &names(&labels)).expect(UNIQUE);
        for values in combinations(&labels) {
            counters.with_label_values(&values);
        }
        self.add(&counters, Kind::Counter, labels)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> IntGauge {
        let gauge = IntGauge::new(name, help).expect(UNIQUE);
        self.add(&gauge, Kind::Gauge, Vec::new())
    }

    pub(super) fn fraction(
        &mut self,
        name: &'static str,
        label: Label,
        help: &'static str,
    ) -> prometheus::GaugeVec {
        let gauges = prometheus::GaugeVec::new(Opts::new(name, help), &[label.name]).expect(UNIQUE);
        let start = |value: &&'static str| -> Gauge { gauges.with_label_values(&[*value]) };
        label.values.iter().for_each(|value| start(value).set(0.0));
        self.add(&gauges, Kind::Gauge, vec![label])
    }

    pub(super) fn gauges(
        &mut self,
        name: &'static str,
        labels: Vec<Label>,
        help: &'static str,
    ) -> IntGaugeVec {
        let gauges = IntGaugeVec::new(Opts::new(name, help), &names(&labels)).expect(UNIQUE);
        for values in combinations(&labels) {
            gauges.with_label_values(&values);
        }
        self.add(&gauges, Kind::Gauge, labels)
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str) -> Histogram {
        let histogram = Histogram::with_opts(timed(name, help)).expect(UNIQUE);
        self.add(&histogram, Kind::Histogram(&SECONDS), Vec::new())
    }

    pub(super) fn histograms(
        &mut self,
        name: &'static str,
        labels: Vec<Label>,
        help: &'static str,
    ) -> HistogramVec {
        let histograms = HistogramVec::new(timed(name, help), &names(&labels)).expect(UNIQUE);
        for values in combinations(&labels) {
            histograms.with_label_values(&values);
        }
        self.add(&histograms, Kind::Histogram(&SECONDS), labels)
    }

    /// Takes in a metric that was made, with its text, elsewhere.
    pub(super) fn adopt(&mut self, metric: impl Collector + 'static, kind: Kind, labels: Vec<Label>) {
        for described in metric.desc() {
            let name = format!("{PREFIX}_{}", described.fq_name);
            self.described.push(Described {
                name,
                kind,
                labels: labels.clone(),
                help: described.help.clone(),
            });
        }
        self.registry.register(Box::new(metric)).expect(UNIQUE);
    }

    fn add<M: Collector + Clone + 'static>(&mut self, metric: &M, kind: Kind, labels: Vec<Label>) -> M {
        self.adopt(metric.clone(), kind, labels);
        metric.clone()
    }
}

fn timed(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(SECONDS.to_vec())
}

fn names(labels: &[Label]) -> Vec<&'static str> {
    labels.iter().map(|label| label.name).collect()
}

/// Every combination of the labels' values; none while a label's values are told later.
fn combinations(labels: &[Label]) -> Vec<Vec<&'static str>> {
    labels.iter().fold(vec![Vec::new()], |before, label| {
        let with = |values: &Vec<&'static str>| {
            let values = values.clone();
            label.values.iter().map(move |value| [values.clone(), vec![*value]].concat()).collect::<Vec<_>>()
        };
        before.iter().flat_map(with).collect()
    })
}
