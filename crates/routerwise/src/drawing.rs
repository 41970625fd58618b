//! Drawings, as SVG.

pub(crate) mod predictors;

use std::io;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::{
    ChartBuilder, ChartContext, Circle, Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont,
    IntoLogRange, LineSeries, PathElement, Polygon, RGBColor, Ranged, Rectangle, SVGBackend, SeriesLabelPosition, Text,
    WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use routerwise_types::answer::frontier::{Frontier, FrontierAxis, FrontierPoint};

const SIZE: (u32, u32) = (900, 560);
const FOUND: RGBColor = RGBColor(0, 92, 175);
const BOUND: RGBColor = RGBColor(214, 96, 20);
const INK: RGBColor = RGBColor(50, 50, 50);
const FAINT: RGBColor = RGBColor(228, 228, 228);
const FONT: &str = "sans-serif";

type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// Quality against what is varied: what was found, what is possible at most, and the room between them.
///
/// Between two points only what follows from them is drawn: a plan of the harder one serves there too, and what no plan reaches at the
/// easier one none reaches there. Both are stairs; more points make them finer.
pub(crate) fn frontier(frontier: &Frontier) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(frontier, &area).expect("drawing into a text cannot fail");
        area.present().expect("drawing into a text cannot fail");
    }
    text
}

/// Corners, from left to right.
type Line = Vec<(f64, f64)>;

/// What is drawn, in the units of the axes.
struct Picture<'a> {
    frontier: &'a Frontier,
    /// From seconds to milliseconds.
    scale: f64,
    across: Range<f64>,
    up: Range<f64>,
}

impl<'a> Picture<'a> {
    fn new(frontier: &'a Frontier) -> Self {
        let scale = match frontier.axis {
            FrontierAxis::Target => 1e3,
            FrontierAxis::Rate | FrontierAxis::Gpus => 1.0,
        };
        let at = |point: Option<&FrontierPoint>| point.map_or(1.0, |point| point.at * scale);
        let (first, last) = (at(frontier.points.first()), at(frontier.points.last()));
        let across = match frontier.axis {
            FrontierAxis::Target => first * 0.93..last * 1.07,
            FrontierAxis::Rate => {
                let room = 0.03 * (last - first).max(first * 0.1);
                (first - room).max(0.0)..last + room
            }
            FrontierAxis::Gpus => first - 0.5..last + 0.5,
        };
        let found = frontier
            .points
            .iter()
            .filter_map(|point| point.quality.map(|quality| quality.value()));
        let values: Vec<f64> = found
            .chain(
                frontier
                    .points
                    .iter()
                    .filter(|point| point.quality.is_some())
                    .filter_map(|point| point.upper_bound),
            )
            .collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let up = if low <= high {
            let room = 0.1 * (high - low).max(0.01);
            (low - room).max(0.0)..(high + room).min(1.0)
        } else {
            0.0..1.0
        };
        Self {
            frontier,
            scale,
            across,
            up,
        }
    }

    fn titles(&self) -> (&'static str, &'static str) {
        match self.frontier.axis {
            FrontierAxis::Target => ("Quality against the latency target", "latency target in ms"),
            FrontierAxis::Rate => ("Quality against the arrival rate", "arrival rate in requests/s"),
            FrontierAxis::Gpus => ("Quality against the number of GPUs", "GPUs"),
        }
    }

    /// Coordinates of the points that have a plan: found, and possible at most.
    fn lines(&self) -> (Line, Line) {
        let planned = self.frontier.points.iter().filter_map(|point| {
            let (quality, x) = (point.quality?.value(), point.at * self.scale);
            Some(((x, quality), (x, point.upper_bound.unwrap_or(quality))))
        });
        planned.unzip()
    }

    /// Stairs of what plans are known to reach between the points, and of what is known to be out of reach.
    fn stairs(&self) -> (Line, Line) {
        let (found, bound) = self.lines();
        let falls = self.frontier.axis == FrontierAxis::Rate;
        (stairs(&found, falls), stairs(&bound, !falls))
    }

    /// The strip without a plan, from one of its points to the next one that has one.
    fn without_plan(&self) -> Option<(Range<f64>, bool)> {
        let has_plan = |point: &&FrontierPoint| point.quality.is_some();
        let points = &self.frontier.points;
        let settled = points
            .iter()
            .filter(|point| point.quality.is_none())
            .all(|point| point.feasible == Some(false));
        if points.iter().all(|point| has_plan(&point)) {
            return None;
        }
        let at = |point: Option<&FrontierPoint>| point.map(|point| point.at * self.scale);
        let strip = match self.frontier.axis {
            FrontierAxis::Rate => {
                let first = points.iter().find(|point| point.quality.is_none());
                at(first).unwrap_or(self.across.end)..self.across.end
            }
            FrontierAxis::Target | FrontierAxis::Gpus => {
                let last = points.iter().rfind(|point| point.quality.is_none());
                self.across.start..at(last).unwrap_or(self.across.start)
            }
        };
        Some((strip, settled))
    }
}

fn draw<'a>(frontier: &Frontier, area: &DrawingArea<SVGBackend<'a>, Shift>) -> Drawn {
    let picture = Picture::new(frontier);
    area.fill(&WHITE)?;
    let (title, _) = picture.titles();
    area.draw(&Text::new(title, (28, 18), (FONT, 22).into_font().color(&INK)))?;
    area.draw(&Text::new(
        frontier.scenario.clone(),
        (28, 48),
        (FONT, 14).into_font().color(&INK.mix(0.8)),
    ))?;
    let mut builder = ChartBuilder::on(area);
    builder
        .margin_top(76)
        .margin_right(32)
        .margin_bottom(14)
        .margin_left(14)
        .x_label_area_size(48)
        .y_label_area_size(66);
    let (across, up) = (picture.across.clone(), picture.up.clone());
    if frontier.axis == FrontierAxis::Target {
        plot(&picture, builder.build_cartesian_2d(across.log_scale(), up)?)
    } else {
        plot(&picture, builder.build_cartesian_2d(across, up)?)
    }
}

type Chart<'a, X> =
    ChartContext<'a, SVGBackend<'a>, plotters::prelude::Cartesian2d<X, plotters::coord::types::RangedCoordf64>>;

fn plot<X>(picture: &Picture<'_>, mut chart: Chart<'_, X>) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let (_, across_title) = picture.titles();
    let n_labels = if picture.frontier.axis == FrontierAxis::Gpus {
        picture.frontier.points.len().clamp(2, 16)
    } else {
        10
    };
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(FAINT)
        .axis_style(INK.mix(0.6))
        .x_labels(n_labels)
        .y_labels(8)
        .x_desc(across_title)
        .y_desc("quality (mean score)")
        .x_label_formatter(&|x| plain(*x))
        .y_label_formatter(&|y| format!("{y:.3}"))
        .axis_desc_style((FONT, 15).into_font().color(&INK))
        .label_style((FONT, 13).into_font().color(&INK))
        .draw()?;
    strip(picture, &mut chart)?;
    own(picture, &mut chart)?;
    let (points, _) = picture.lines();
    let (found, bound) = picture.stairs();
    let band: Line = bound.iter().copied().chain(found.iter().rev().copied()).collect();
    if band.len() > 2 {
        chart.draw_series([Polygon::new(band, BOUND.mix(0.18))])?;
    }
    chart
        .draw_series(LineSeries::new(bound, BOUND.stroke_width(2)))?
        .label("no plan reaches more (proven)")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], BOUND.stroke_width(2)));
    chart.draw_series(LineSeries::new(found, FOUND.stroke_width(2)))?;
    chart
        .draw_series(points.into_iter().map(|at| Circle::new(at, 4, FOUND.filled())))?
        .label("a plan reaches this")
        .legend(|(x, y)| Circle::new((x + 11, y), 4, FOUND.filled()));
    let position = match picture.frontier.axis {
        FrontierAxis::Rate => SeriesLabelPosition::LowerLeft,
        FrontierAxis::Target | FrontierAxis::Gpus => SeriesLabelPosition::LowerRight,
    };
    chart
        .configure_series_labels()
        .position(position)
        .margin(14)
        .label_font((FONT, 14).into_font().color(&INK))
        .background_style(WHITE.mix(0.85))
        .border_style(FAINT)
        .draw()
}

/// Shades where there is no plan.
fn strip<X>(picture: &Picture<'_>, chart: &mut Chart<'_, X>) -> Drawn
where
    X: Ranged<ValueType = f64>,
{
    let Some((range, settled)) = picture.without_plan() else {
        return Ok(());
    };
    let corners = [(range.start, picture.up.start), (range.end, picture.up.end)];
    chart.draw_series([Rectangle::new(corners, INK.mix(0.08).filled())])?;
    let words = if settled { "no plan" } else { "no plan found" };
    let at_end = picture.frontier.axis == FrontierAxis::Rate;
    let (x, anchor) = if at_end {
        (range.start, HPos::Left)
    } else {
        (range.end, HPos::Right)
    };
    label(picture, chart, format!(" {words} "), x, anchor)
}

/// Marks the scenario's own value.
fn own<X>(picture: &Picture<'_>, chart: &mut Chart<'_, X>) -> Drawn
where
    X: Ranged<ValueType = f64>,
{
    let own = picture.frontier.own.map(|own| own * picture.scale);
    let Some(own) = own.filter(|own| picture.across.contains(own)) else {
        return Ok(());
    };
    let line = [(own, picture.up.start), (own, picture.up.end)];
    chart.draw_series(LineSeries::new(line, INK.mix(0.35).stroke_width(1)))?;
    label(picture, chart, " this scenario ".to_owned(), own, HPos::Left)
}

/// Words at the top, beside a place.
fn label<X>(picture: &Picture<'_>, chart: &mut Chart<'_, X>, words: String, x: f64, side: HPos) -> Drawn
where
    X: Ranged<ValueType = f64>,
{
    let y = picture.up.end - 0.02 * (picture.up.end - picture.up.start);
    let style = (FONT, 13)
        .into_font()
        .color(&INK.mix(0.7))
        .pos(Pos::new(side, VPos::Top));
    chart.draw_series([Text::new(words, (x, y), style)])?;
    Ok(())
}

/// From each point level to the next one, which takes over at once where it `leads`.
fn stairs(points: &[(f64, f64)], leads: bool) -> Line {
    let mut corners: Line = points.first().copied().into_iter().collect();
    for pair in points.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        corners.push(if leads { (a.0, b.1) } else { (b.0, a.1) });
        corners.push(b);
    }
    corners
}

/// A number without digits that say nothing.
fn plain(value: f64) -> String {
    if value >= 10.0 || (value - value.round()).abs() < 1e-9 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stairs_go_through_every_point() {
        let points = [(1.0, 0.5), (2.0, 0.7)];
        assert_eq!(stairs(&points, false), [(1.0, 0.5), (2.0, 0.5), (2.0, 0.7)]);
        assert_eq!(stairs(&points, true), [(1.0, 0.5), (1.0, 0.7), (2.0, 0.7)]);
    }

    #[test]
    fn a_frontier_without_any_plan_can_be_drawn() {
        let point = |at| FrontierPoint {
            at,
            feasible: Some(false),
            quality: None,
            upper_bound: None,
            gap: None,
            mean_ttft: None,
            n_gpus: None,
            models: Vec::new(),
        };
        for axis in [FrontierAxis::Target, FrontierAxis::Rate, FrontierAxis::Gpus] {
            let text = frontier(&Frontier {
                schema: 1,
                axis,
                unit: "s".into(),
                scenario: "nothing <but> trouble".into(),
                own: Some(1.0),
                points: vec![point(1.0), point(2.0)],
            });
            assert!(text.starts_with("<svg") && text.contains("no plan") && text.contains("nothing &lt;but&gt;"));
        }
    }
}
