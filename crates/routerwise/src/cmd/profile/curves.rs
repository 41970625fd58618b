//! Latency curves as characters and as SVG.

use std::io;

use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Circle, Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont, IntoLogRange,
    LineSeries, PathElement, RGBColor, SVGBackend, SeriesLabelPosition, Text, WHITE,
};
use routerwise_types::Seconds;
use routerwise_types::profile::Profile;
use routerwise_types::workload::Metric;

use super::configuration::in_words;

const WIDTH: usize = 68;
const HEIGHT: usize = 14;
const SIZE: (u32, u32) = (1_000, 460);
const INK: RGBColor = RGBColor(50, 50, 50);
const FAINT: RGBColor = RGBColor(228, 228, 228);
const FONT: &str = "sans-serif";
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 92, 175),
    RGBColor(214, 96, 20),
    RGBColor(34, 139, 88),
    RGBColor(158, 60, 142),
    RGBColor(120, 120, 120),
    RGBColor(190, 150, 0),
];

/// Letters of the curves.
pub(super) fn marks() -> impl Iterator<Item = char> {
    'A'..='Z'
}

/// What the axes cover: loads from 0, latencies between two powers or so, in milliseconds.
struct Axes {
    load_max: f64,
    low: f64,
    high: f64,
}

impl Axes {
    fn of(profiles: &[Profile], metric: Metric) -> Self {
        let points = || profiles.iter().flat_map(|profile| &profile.points);
        let values = || {
            points()
                .map(|point| point.stat(metric).mean.as_millis())
                .filter(|ms| *ms > 0.0)
        };
        let load_max = points().map(|point| point.offered.value()).fold(0.0, f64::max);
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(0.0, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (1.0, 10.0) };
        Self {
            load_max: load_max.max(1e-9) * 1.02,
            low: low / 1.15,
            high: high.max(low * 1.5) * 1.15,
        }
    }
}

/// Mean latency against load, a letter for each profile, latency on a logarithmic scale.
pub(super) fn in_text(profiles: &[Profile], metric: Metric) -> String {
    let axes = Axes::of(profiles, metric);
    let mut cells = vec![vec![' '; WIDTH]; HEIGHT];
    for (mark, profile) in marks().zip(profiles) {
        let columns = (0..WIDTH).map(|column| (column, axes.load_max * (count(column) + 0.5) / count(WIDTH)));
        for (column, load) in columns {
            let Some(value) = read(profile, metric, load).filter(|value| *value > 0.0) else {
                continue;
            };
            let height = (value / axes.low).ln() / (axes.high / axes.low).ln();
            let row = whole((1.0 - height) * count(HEIGHT - 1)).min(HEIGHT - 1);
            let measured = profile
                .points
                .iter()
                .any(|point| whole(point.offered.value() / axes.load_max * count(WIDTH)) == column);
            let cell = &mut cells[row][column];
            if measured || *cell == ' ' {
                *cell = if measured { mark } else { '·' };
            }
        }
    }
    let label = |row: usize| {
        let height = 1.0 - count(row) / count(HEIGHT - 1);
        let ms = axes.low * (axes.high / axes.low).powf(height);
        Seconds::new(ms / 1e3).map_or_else(|_| String::new(), |seconds| seconds.to_string())
    };
    let mut text = format!("mean {metric} against load\n");
    for (row, cells) in cells.iter().enumerate() {
        let label = if row % 4 == 1 { label(row) } else { String::new() };
        let line: String = cells.iter().collect();
        text.push_str(&format!("{label:>9} │{}\n", line.trim_end()));
    }
    text.push_str(&format!("{:>9} └{}\n", "", "─".repeat(WIDTH)));
    let right = format!("{:.2} requests/s", axes.load_max / 1.02);
    text.push_str(&format!("{:>10} 0{right:>width$}\n", "", width = WIDTH - 1));
    text
}

/// Between neighbours along a straight line, as plans read it.
fn read(profile: &Profile, metric: Metric, load: f64) -> Option<f64> {
    let points = &profile.points;
    let right = points.partition_point(|point| point.offered.value() < load);
    let ms = |ix: usize| points[ix].stat(metric).mean.as_millis();
    if right == points.len() {
        return None;
    }
    let Some(left) = right.checked_sub(1) else {
        return Some(ms(0));
    };
    let (x0, x1) = (points[left].offered.value(), points[right].offered.value());
    Some(ms(left) + (ms(right) - ms(left)) * (load - x0) / (x1 - x0))
}

#[expect(clippy::cast_precision_loss, reason = "columns and rows of a terminal")]
fn count(n: usize) -> f64 {
    n as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a column or row, not negative"
)]
fn whole(value: f64) -> usize {
    value.max(0.0) as usize
}

type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// TTFT and TPOT side by side, with the intervals of the points.
pub(super) fn as_svg(profiles: &[Profile]) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(profiles, &area).expect("drawing into a text cannot fail");
        area.present().expect("drawing into a text cannot fail");
    }
    text
}

fn draw<'a>(profiles: &[Profile], area: &DrawingArea<SVGBackend<'a>, Shift>) -> Drawn {
    area.fill(&WHITE)?;
    let title = "Latency against load: means with their 95 % intervals";
    area.draw(&Text::new(title, (20, 14), (FONT, 18).into_font().color(&INK)))?;
    let (left, right) = area.margin(40, 0, 0, 0).split_horizontally(SIZE.0 / 2);
    panel(profiles, Metric::Ttft, &left)?;
    panel(profiles, Metric::Tpot, &right)
}

fn panel<'a>(profiles: &[Profile], metric: Metric, area: &DrawingArea<SVGBackend<'a>, Shift>) -> Drawn {
    let axes = Axes::of(profiles, metric);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..axes.load_max, (axes.low..axes.high).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(FAINT)
        .axis_style(INK.mix(0.6))
        .x_desc("requests/s")
        .y_desc(format!("mean {metric} in ms"))
        .y_label_formatter(&|ms| {
            if *ms < 10.0 {
                format!("{ms:.1}")
            } else {
                format!("{ms:.0}")
            }
        })
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .label_style((FONT, 12).into_font().color(&INK))
        .draw()?;
    for (profile, colour) in profiles.iter().zip(COLOURS.iter().cycle()) {
        let points = || {
            profile.points.iter().map(|point| {
                let stat = point.stat(metric);
                (point.offered.value(), stat.mean.as_millis(), stat.ci95.as_millis())
            })
        };
        let points = || points().filter(|(_, ms, _)| *ms > 0.0);
        let line = LineSeries::new(points().map(|(load, ms, _)| (load, ms)), colour.stroke_width(2));
        let colour = *colour;
        chart
            .draw_series(line)?
            .label(in_words(&profile.key))
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2)));
        chart.draw_series(points().map(|(load, ms, ci)| {
            let low = (ms - ci).max(axes.low);
            PathElement::new(vec![(load, low), (load, ms + ci)], colour.mix(0.6))
        }))?;
        chart.draw_series(points().map(|(load, ms, _)| Circle::new((load, ms), 3, colour.filled())))?;
    }
    if metric == Metric::Ttft {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .label_font((FONT, 12).into_font().color(&INK))
            .draw()?;
    }
    Ok(())
}
