//! Draws lines over two axes as SVG: values in, text out. A background of its own makes it readable on a light page and on
//! a dark one.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// The corners of the drawing area.
const LEFT: f64 = 84.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = HEIGHT - 60.0;
const INK: &str = "#1b1f24";
const GRID: &str = "#d8dee4";

/// What to draw.
pub struct Chart {
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

/// One axis, from its first tick to its last.
pub struct Axis {
    /// What it counts, with the unit.
    pub label: &'static str,
    pub scale: Scale,
    pub ticks: Vec<f64>,
}

/// How values are laid out.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    Linear,
    Log,
}

/// One line.
pub struct Series {
    pub name: &'static str,
    pub color: &'static str,
    /// Of the line, as in `stroke-dasharray`; `none` = unbroken.
    pub dashes: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// Ticks from 0 to `most` or just past it, in steps of 1, 2 or 5 times a power of ten; nine at most.
pub fn linear_ticks(most: f64) -> Vec<f64> {
    const MOST_STEPS: f64 = 8.0;
    let most = if most > 0.0 { most } else { 1.0 };
    let power = 10_f64.powf((most / MOST_STEPS).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| most / step <= MOST_STEPS).unwrap_or(most);
    (0..=(most / step).ceil() as u32).map(|count| f64::from(count) * step).collect()
}

/// 1, 2 and 5 times the powers of ten, from `least` or just below it to `most` or just past it.
pub fn log_ticks(least: f64, most: f64) -> Vec<f64> {
    let (least, most) = if least > 0.0 && least <= most { (least, most) } else { (1.0, 10.0) };
    let powers = least.log10().floor() as i32..=most.log10().floor() as i32 + 1;
    let all: Vec<f64> =
        powers.flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power))).collect();
    let first = all.iter().rposition(|tick| *tick <= least).unwrap_or(0);
    let last = all.iter().position(|tick| *tick >= most).unwrap_or(all.len() - 1);
    all[first..=last.max(first + 1)].to_vec()
}

impl Axis {
    /// Where `value` lies between the first tick (0) and the last (1).
    fn place(&self, value: f64) -> f64 {
        let laid_out = |value: f64| if self.scale == Scale::Log { value.log10() } else { value };
        let [first, last] = [self.ticks[0], self.ticks[self.ticks.len() - 1]].map(laid_out);
        (laid_out(value) - first) / (last - first)
    }
}

impl Chart {
    /// The picture.
    pub fn svg(&self) -> String {
        let title = self.title;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"sans-serif\" \
             font-size=\"13\" fill=\"{INK}\">\n<title>{title}</title>\n<rect width=\"100%\" height=\"100%\" rx=\"6\" \
             fill=\"#ffffff\"/>\n"
        );
        write_text(&mut svg, (LEFT, 28.0), "start", title);
        self.write_axes(&mut svg);
        self.series.iter().for_each(|series| self.write_series(&mut svg, series));
        self.write_legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (x, y) = (self.x.place(x), self.y.place(y));
        (LEFT + x * (RIGHT - LEFT), BOTTOM - y * (BOTTOM - TOP))
    }

    fn write_axes(&self, svg: &mut String) {
        let (first_x, first_y) = (self.x.ticks[0], self.y.ticks[0]);
        for tick in &self.x.ticks {
            let (x, _) = self.at((*tick, first_y));
            write_line(svg, (x, TOP), (x, BOTTOM));
            write_text(svg, (x, BOTTOM + 20.0), "middle", &in_groups(*tick));
        }
        for tick in &self.y.ticks {
            let (_, y) = self.at((first_x, *tick));
            write_line(svg, (LEFT, y), (RIGHT, y));
            write_text(svg, (LEFT - 8.0, y + 4.5), "end", &in_groups(*tick));
        }
        let middle = ((LEFT + RIGHT) / 2.0, (TOP + BOTTOM) / 2.0);
        write_text(svg, (middle.0, HEIGHT - 16.0), "middle", self.x.label);
        let _ = write!(svg, "<g transform=\"translate(20 {:.1}) rotate(-90)\">", middle.1);
        write_text(svg, (0.0, 0.0), "middle", self.y.label);
        svg.push_str("</g>\n");
    }

    fn write_series(&self, svg: &mut String, series: &Series) {
        let Series { color, dashes, points, .. } = series;
        let places: Vec<(f64, f64)> = points.iter().map(|point| self.at(*point)).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
            path.join(" ")
        );
        for (x, y) in places {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{color}\"/>");
        }
    }

    /// In a row above the drawing, right.
    fn write_legend(&self, svg: &mut String) {
        const EACH: f64 = 130.0;
        for (place, Series { name, color, dashes, .. }) in self.series.iter().rev().enumerate() {
            let x = RIGHT - EACH * (place + 1) as f64;
            let _ = writeln!(
                svg,
                "<line x1=\"{x}\" y1=\"24\" x2=\"{}\" y2=\"24\" stroke=\"{color}\" stroke-width=\"3\" \
                 stroke-dasharray=\"{dashes}\"/>",
                x + 28.0
            );
            write_text(svg, (x + 36.0, 28.0), "start", name);
        }
    }
}

fn write_line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{GRID}\"/>"
    );
}

fn write_text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

/// `12000` as `12,000`, `0.5` as it is.
fn in_groups(value: f64) -> String {
    let text = format!("{}", (value * 1000.0).round() / 1000.0);
    let digits = text.find('.').unwrap_or(text.len());
    let comma = |place: usize| place > 0 && place < digits && (digits - place).is_multiple_of(3);
    text.char_indices().flat_map(|(place, c)| comma(place).then_some(',').into_iter().chain([c])).collect()
}
