//! The panels as a drawing: for each the range between the worst and the best setup, and what is marked in it.

use plotters::coord::Shift;
use plotters::prelude::*;
use routerwise_types::answer::setups::SpreadOf;

use crate::panels::Measured;

const SIZE: (u32, u32) = (860, 420);
const ALL: RGBColor = RGBColor(150, 170, 200);
const REAL: RGBColor = RGBColor(200, 90, 40);
const FREE: RGBColor = RGBColor(30, 120, 60);

/// The drawing as text.
pub(crate) fn draw(panels: &[Measured]) -> String {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    // A string takes whatever is written to it.
    plot(panels, &area).expect("drawing into memory cannot fail");
    area.present().expect("drawing into memory cannot fail");
    drop(area);
    text
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Error<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn plot<'a>(panels: &[Measured], area: &Area<'a>) -> Result<(), Error<'a>> {
    area.fill(&WHITE)?;
    let values = panels.iter().flat_map(|found| {
        let ranges = found.spreads.iter().flat_map(|spread| [spread.worst, spread.best]);
        ranges.chain([found.free.map(|(quality, _)| quality)]).flatten()
    });
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
        (low.min(x), high.max(x))
    });
    let pad = 0.05 * (high - low).max(0.01);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(
            -0.5..panels.len() as f64 - 0.5,
            low - pad..high + 0.5 * (high - low).max(0.01),
        )?;
    let label = |x: &f64| {
        let at = x.round();
        if (x - at).abs() > 1e-6 || at < 0.0 {
            return String::new();
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index of a panel"
        )]
        let found = panels.get(at as usize).map(|found| found.panel);
        found.map_or_else(String::new, |panel| {
            format!("{} GPUs {:.0}/s {:.0} ms", panel.n_gpus, panel.rate, panel.target_ms)
        })
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .y_max_light_lines(1)
        .x_labels(panels.len() + 1)
        .x_label_formatter(&label)
        .y_desc("best quality of a setup")
        .x_label_style(("sans-serif", 9))
        .draw()?;
    for (which, colour, half, label) in [
        (0, ALL, 0.18, "all retained setups that meet it"),
        (3, REAL, 0.09, "those that fit on the GPUs"),
    ] {
        let bars = panels
            .iter()
            .enumerate()
            .filter_map(|(at, found)| bar(at, &found.spreads[which], half));
        chart
            .draw_series(bars.map(|corners| Rectangle::new(corners, colour.mix(0.6).filled())))?
            .label(label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.mix(0.6).filled()));
    }
    marks(panels, &mut chart, 0, "equal split", BLACK)?;
    marks(panels, &mut chart, 1, "size-proportional", RGBColor(110, 110, 110))?;
    marks(panels, &mut chart, 2, "isolated", RGBColor(120, 60, 160))?;
    let free = panels
        .iter()
        .enumerate()
        .filter_map(|(at, found)| Some((at as f64, found.free?.0)));
    chart
        .draw_series(free.map(|at| TriangleMarker::new(at, 6, FREE.filled())))?
        .label("joint plan with replicas and models off")
        .legend(|(x, y)| TriangleMarker::new((x + 6, y), 6, FREE.filled()));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
}

fn bar(at: usize, spread: &SpreadOf, half: f64) -> Option<[(f64, f64); 2]> {
    let at = at as f64;
    Some([(at - half, spread.worst?), (at + half, spread.best?)])
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn marks<'b>(
    panels: &[Measured],
    chart: &mut Chart<'_, 'b>,
    which: usize,
    label: &str,
    colour: RGBColor,
) -> Result<(), Error<'b>> {
    let shift = 0.26 + 0.07 * which as f64;
    let found = panels
        .iter()
        .enumerate()
        .filter_map(|(at, found)| Some((at as f64 + shift, found.baselines.get(which)?.1?)));
    chart
        .draw_series(found.map(|at| Circle::new(at, 3, colour.filled())))?
        .label(label)
        .legend(move |(x, y)| Circle::new((x + 6, y), 3, colour.filled()));
    Ok(())
}
