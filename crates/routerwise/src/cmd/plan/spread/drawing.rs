//! A spread as an SVG: setups per quality, all of them and those that fit on real GPUs, each as a part of its own total.

use plotters::coord::Shift;
use plotters::prelude::*;
use routerwise_types::answer::setups::{PlacementLimit, Spread, SpreadOf};

const SIZE: (u32, u32) = (720, 360);
const ALL: RGBColor = RGBColor(150, 170, 200);
const REAL: RGBColor = RGBColor(200, 90, 40);
const MARK: RGBColor = RGBColor(60, 60, 60);

/// The drawing as text.
pub(super) fn draw(answer: &Spread) -> String {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    // A string takes whatever is written to it.
    plot(answer, &area).expect("drawing into memory cannot fail");
    area.present().expect("drawing into memory cannot fail");
    drop(area);
    text
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Error<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn plot<'a>(answer: &Spread, area: &Area<'a>) -> Result<(), Error<'a>> {
    area.fill(&WHITE)?;
    let marks = answer
        .marks
        .iter()
        .filter_map(|mark| Some((mark.name.as_str(), mark.quality?)));
    let marks: Vec<(&str, f64)> = marks.collect();
    let all_x = answer.edges.iter().copied().chain(marks.iter().map(|mark| mark.1));
    let (low, high) = all_x.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
        (low.min(x), high.max(x))
    });
    let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
    let of = |limit| answer.spreads.iter().find(|spread| spread.limit == limit);
    let groups = [
        (of(PlacementLimit::Compute), ALL, "all setups by total compute"),
        (of(PlacementLimit::SharesAndMemory), REAL, "those that fit on real GPUs"),
    ];
    let heights = groups.iter().filter_map(|(spread, _, _)| Some(parts((*spread)?)));
    let top = heights.flatten().fold(0.0, f64::max).max(1.0);
    let slos: Vec<String> = answer.slos.iter().map(ToString::to_string).collect();
    let title = format!("{}, {}", answer.rate, slos.join(", "));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(
            low..high + 0.01 * (high - low),
            0.0..top * (1.15 + 0.1 * (2 + marks.len()) as f64),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .y_max_light_lines(1)
        .x_desc("best quality of a setup")
        .y_desc("% of setups")
        .draw()?;
    for (spread, colour, label) in groups {
        let Some(spread) = spread else { continue };
        let bars = answer.edges.windows(2).zip(parts(spread));
        let bars = bars.map(|(bin, part)| Rectangle::new([(bin[0], 0.0), (bin[1], part)], colour.mix(0.5).filled()));
        let label = format!("{label}: {} of {} meet it", spread.n_feasible, spread.n_setups);
        chart
            .draw_series(bars)?
            .label(label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.mix(0.5).filled()));
    }
    for (at, (name, quality)) in marks.into_iter().enumerate() {
        let label = format!("{name}: {quality:.4}");
        let shade = MARK.mix(1.0 - 0.2 * (at % 4) as f64);
        chart
            .draw_series(LineSeries::new(
                [(quality, 0.0), (quality, top * 1.1)],
                shade.stroke_width(2),
            ))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], shade.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
}

/// Each bin in per cent of the setups that meet the objectives.
fn parts(spread: &SpreadOf) -> Vec<f64> {
    let all = spread.n_feasible.max(1) as f64;
    spread
        .histogram
        .iter()
        .map(|count| 100.0 * *count as f64 / all)
        .collect()
}
