//! Deferral curves and reliability of predictors, side by side.

use std::io;

use plotters::prelude::{
    ChartBuilder, Circle, Color, DrawingAreaErrorKind, IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBColor,
    SVGBackend, SeriesLabelPosition, Text, WHITE,
};
use routerwise_types::answer::predictors::{Bin, DeferralPoint, Evaluation, PredictorTest, SplitBy};

use super::{FAINT, FONT, INK};

const SIZE: (u32, u32) = (1100, 520);
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 92, 175),
    RGBColor(214, 96, 20),
    RGBColor(34, 139, 80),
    RGBColor(150, 60, 160),
    RGBColor(120, 120, 120),
    RGBColor(190, 30, 60),
    RGBColor(0, 150, 170),
    RGBColor(160, 120, 0),
];

type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// Left, quality as ever more prompts go to the strong model; right, real against predicted score.
pub(crate) fn draw(evaluation: &Evaluation) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw_on(evaluation, &area).expect("drawing into a text cannot fail");
        area.present().expect("drawing into a text cannot fail");
    }
    text
}

fn draw_on(
    evaluation: &Evaluation,
    area: &plotters::prelude::DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Drawn {
    area.fill(&WHITE)?;
    let title = |text: &str, x: i32| Text::new(text.to_owned(), (x, 18), (FONT, 20).into_font().color(&INK));
    area.draw(&title("Quality, from the weakest to the strongest model", 28))?;
    area.draw(&title("Reliability: real score against predicted", 600))?;
    let (left, right) = area.split_horizontally(560);
    // Curves of different tests start and end at different prompts; those held out by prompt are comparable.
    let shown: Vec<&PredictorTest> = evaluation
        .tests
        .iter()
        .filter(|test| test.split != SplitBy::Source)
        .take(COLOURS.len())
        .collect();
    deferral(&shown, &left)?;
    reliability(&shown, &right)
}

fn deferral(
    tests: &[&PredictorTest],
    area: &plotters::prelude::DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Drawn {
    let points = || tests.iter().flat_map(|test| &test.deferral.points);
    let low = points()
        .map(|point| point.quality.min(point.random))
        .fold(1.0, f64::min);
    let high = points().map(|point| point.oracle).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin_top(50)
        .margin_right(20)
        .margin_bottom(10)
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..100.0, (low - 0.02).min(high - 0.01)..high + 0.02)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(FAINT)
        .x_desc("prompts to the strong model, per cent")
        .y_desc("mean score")
        .y_label_formatter(&|y| format!("{y:.2}"))
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .label_style((FONT, 12).into_font().color(&INK))
        .draw()?;
    let line = |test: &PredictorTest, of: fn(&DeferralPoint) -> f64| -> Vec<(f64, f64)> {
        test.deferral
            .points
            .iter()
            .map(|point| (100.0 * point.fraction, of(point)))
            .collect()
    };
    for (test, colour) in tests.iter().zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(
                line(test, |point| point.quality),
                colour.stroke_width(2),
            ))?
            .label(test.predictor.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    if let Some(test) = tests.first() {
        chart
            .draw_series(LineSeries::new(line(test, |point| point.random), INK.mix(0.5)))?
            .label("static mix")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], INK.mix(0.5)));
        chart
            .draw_series(LineSeries::new(line(test, |point| point.oracle), INK.stroke_width(1)))?
            .label("oracle")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], INK));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .label_font((FONT, 12).into_font().color(&INK))
        .draw()
}

fn reliability(
    tests: &[&PredictorTest],
    area: &plotters::prelude::DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin_top(50)
        .margin_right(20)
        .margin_bottom(10)
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(FAINT)
        .x_desc("predicted score, bins of all models")
        .y_desc("real score")
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .label_style((FONT, 12).into_font().color(&INK))
        .draw()?;
    chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], INK.mix(0.5)))?;
    for (test, colour) in tests.iter().zip(COLOURS) {
        let bins = test.models.iter().flat_map(|model| &model.bins);
        let dot = |bin: &Bin| Circle::new((bin.predicted, bin.observed), 2, colour.mix(0.6).filled());
        chart.draw_series(bins.map(dot))?;
    }
    Ok(())
}
