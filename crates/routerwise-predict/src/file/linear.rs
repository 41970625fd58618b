//! The numbers of a linear predictor.

use super::Unreadable;
use super::bytes::{Reader, Writer};
use crate::components::Basis;
use crate::features::{N_BUCKETS, N_SURFACE};
use crate::linear::Linear;
use crate::rows::LANES;

/// All numbers, in the order in which [`read`] takes them.
pub(crate) fn body(linear: &Linear) -> Vec<u8> {
    let mut body = Writer::default();
    body.floats(&linear.basis.mean);
    body.floats(linear.basis.parts.as_flattened());
    body.calibrator(&linear.calibrator);
    for (mean, factor) in &linear.surface_scales {
        body.floats(&[*mean, *factor]);
    }
    body.floats(linear.surface.as_flattened());
    body.floats(linear.table.as_flattened());
    body.into_bytes()
}

pub(crate) fn read(body: &mut Reader<'_>, models: &[String]) -> Result<Linear, Unreadable> {
    let n = models.len();
    let basis = Basis {
        mean: body.floats(n)?,
        parts: body.rows(n)?,
    };
    let calibrator = body.calibrator(n)?;
    let scales = body.rows::<2>(N_SURFACE)?;
    let surface = body.rows::<LANES>(N_SURFACE)?;
    Ok(Linear {
        models: models.to_vec(),
        basis,
        calibrator,
        surface_scales: std::array::from_fn(|at| (scales[at][0], scales[at][1])),
        surface: std::array::from_fn(|at| surface[at]),
        table: body.rows(N_BUCKETS)?,
    })
}
