//! The table as small multiples: one column for each thing that grows, one row for each thing that is measured, all axes logarithmic.

use std::io;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::prelude::{
    ChartBuilder, Circle, Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont, IntoLogRange,
    LineSeries, RGBColor, SVGBackend, Text, WHITE,
};

use crate::cases::{Case, Factor};
use crate::{Measured, place};

const SIZE: (u32, u32) = (1240, 760);
const LINE: RGBColor = RGBColor(0, 92, 175);
const INK: RGBColor = RGBColor(50, 50, 50);
const FAINT: RGBColor = RGBColor(228, 228, 228);
const FONT: &str = "sans-serif";
const FACTORS: [(Factor, &str); 4] = [
    (Factor::Models, "models"),
    (Factor::Gpus, "GPUs"),
    (Factor::Prompts, "prompts"),
    (Factor::Candidates, "configurations of all models"),
];
/// Gaps below this are drawn here: a logarithmic axis has no 0.
const LEAST_GAP: f64 = 1e-5;

/// A measure: its name and unit, how to read it, and how to write it.
struct Measure {
    name: &'static str,
    of: fn(&Measured) -> Option<f64>,
    label: fn(f64) -> String,
}

const MEASURES: [Measure; 3] = [
    Measure {
        name: "CPU time in s",
        of: |measured| Some(measured.cpu_seconds.max(0.01)),
        label: short,
    },
    Measure {
        name: "gap, part of quality",
        of: |measured| measured.found.as_ref().map(|found| found.part().max(LEAST_GAP)),
        label: |value| format!("{} %", short(100.0 * value)),
    },
    Measure {
        name: "peak memory in MB",
        of: |measured| Some(measured.megabytes),
        label: short,
    },
];

type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(crate) fn write(results: &[(Case, Measured)], file: &Path) -> Drawn {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    area.draw(&Text::new(
        "Planning time, proven gap and memory as one thing grows and the others stay at 8 models, 64 GPUs, 20 000 prompts, shares in tenths, 32 replicas",
        (18, 12),
        (FONT, 15).into_font().color(&INK),
    ))?;
    let panels = area.margin(38, 6, 6, 6).split_evenly((MEASURES.len(), FACTORS.len()));
    for (at, panel) in panels.iter().enumerate() {
        let (measure, (factor, title)) = (&MEASURES[at / FACTORS.len()], FACTORS[at % FACTORS.len()]);
        let up = span(results.iter().filter_map(|(_, measured)| (measure.of)(measured)));
        let places = results.iter().map(|(case, measured)| place(case, measured));
        let places: Vec<f64> = places.filter(|(own, _)| *own == factor).map(|(_, x)| x).collect();
        if places.is_empty() {
            continue;
        }
        let across = Across {
            title,
            range: span(places.iter().copied()),
            // Finer shares and more replicas are two ways to more configurations: not one line.
            connected: factor != Factor::Candidates,
            ticks: match factor {
                Factor::Models | Factor::Gpus => places,
                Factor::Prompts | Factor::Candidates => Vec::new(),
            },
        };
        draw(panel, &series(results, factor, measure), &across, measure, up)?;
    }
    area.present()
}

/// A horizontal axis.
struct Across {
    title: &'static str,
    range: Range<f64>,
    /// Where there are numbers; the usual round ones if empty.
    ticks: Vec<f64>,
    connected: bool,
}

/// 1, 2 and 5 of every power of ten.
fn round_numbers(range: &Range<f64>) -> Vec<f64> {
    let powers = (-6..8).map(|power| 10f64.powi(power));
    let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * power));
    all.filter(|number| range.contains(number)).collect()
}

fn series(results: &[(Case, Measured)], factor: Factor, measure: &Measure) -> Vec<(f64, f64)> {
    let points = results.iter().filter_map(|(case, measured)| {
        let (own, x) = place(case, measured);
        (own == factor).then_some((x, (measure.of)(measured)?))
    });
    let mut points: Vec<(f64, f64)> = points.collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

fn draw(area: &Area<'_>, points: &[(f64, f64)], across: &Across, measure: &Measure, up: Range<f64>) -> Drawn {
    let ticks = if across.ticks.is_empty() {
        round_numbers(&across.range)
    } else {
        across.ticks.clone()
    };
    let heights = round_numbers(&up);
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(
            across.range.clone().log_scale().with_key_points(ticks),
            up.log_scale().with_key_points(heights),
        )?;
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(FAINT)
        .axis_style(INK.mix(0.6))
        .x_labels(12)
        .y_labels(12)
        .x_desc(across.title)
        .y_desc(measure.name)
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| (measure.label)(*y))
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .label_style((FONT, 12).into_font().color(&INK))
        .draw()?;
    if across.connected {
        chart.draw_series(LineSeries::new(points.iter().copied(), LINE.stroke_width(2)))?;
    }
    chart.draw_series(points.iter().map(|at| Circle::new(*at, 3, LINE.filled())))?;
    Ok(())
}

/// From a little below the least to a little above the greatest.
fn span(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    low / 1.4..high * 1.4
}

/// A number in three characters or so.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.0}M", v / 1e6),
        v if v >= 1e3 => format!("{:.0}k", v / 1e3),
        v if v >= 0.999 => format!("{v:.0}"),
        v => format!("{v:.3}").trim_end_matches('0').to_owned(),
    }
}
