//! The numbers of word vectors and of heads.

use super::Unreadable;
use super::bytes::{Reader, Writer};
use crate::components::Basis;
use crate::embed::{WIDTH, WordTable};
use crate::features::{N_BUCKETS, N_SURFACE};
use crate::heads::{EmbeddingHead, Head, Knn, MOST_WIDTH, Mlp, Ridge, Static};
use crate::matrix::Matrix;

/// Most prompts that a look-up of neighbours may hold.
const MOST_ROWS: usize = 10_000_000;

pub(super) fn write_static(learned: &Static, body: &mut Writer) {
    let table = &learned.table;
    body.number(table.rows.len());
    let used = (0..N_BUCKETS).filter(|bucket| table.slots[*bucket] > 0);
    body.hashes(&used.map(|bucket| bucket as u64).collect::<Vec<_>>());
    body.floats(table.rows.as_flattened());
    body.floats(&table.squares);
    body.floats(&table.centre);
    write_head(&learned.head, body);
}

pub(super) fn read_static(body: &mut Reader<'_>, models: &[String]) -> Result<Static, Unreadable> {
    let n_rows = body.number(usize::from(u16::MAX))?;
    let used = body.hashes()?;
    let is_right = used.len() == n_rows
        && used.is_sorted_by(|a, b| a < b)
        && used.last().is_none_or(|last| *last < N_BUCKETS as u64);
    if !is_right {
        return Err(Unreadable::Inconsistent("its table of words is out of order".into()));
    }
    let mut slots = vec![0; N_BUCKETS];
    for (at, bucket) in (1_u16..).zip(&used) {
        slots[usize::try_from(*bucket).expect("checked above")] = at;
    }
    let table = WordTable {
        slots,
        rows: body.rows::<WIDTH>(n_rows)?,
        squares: body.floats(n_rows)?,
        centre: body.rows::<WIDTH>(1)?[0],
    };
    let head = read_head(body, models)?;
    if head.width != WIDTH {
        return Err(Unreadable::Inconsistent(
            "its head does not fit its table of words".into(),
        ));
    }
    Ok(Static { table, head })
}

pub(super) fn write_head(head: &EmbeddingHead, body: &mut Writer) {
    body.number(head.width);
    for (mean, factor) in &head.surface_scales {
        body.floats(&[*mean, *factor]);
    }
    body.calibrator(&head.calibrator);
    match &head.head {
        Head::Ridge(ridge) => {
            body.number(RIDGE);
            body.floats(&ridge.basis.mean);
            body.floats(ridge.basis.parts.as_flattened());
            body.floats(ridge.weights.as_flattened());
        }
        Head::Knn(knn) => {
            body.number(KNN);
            body.number(knn.k);
            body.number(knn.features.n_rows());
            body.floats(knn.features.values());
            body.floats(knn.labels.values());
            body.floats(&knn.counts);
        }
        Head::Mlp(mlp) => {
            body.number(MLP);
            body.floats(mlp.first.values());
            body.floats(mlp.second.values());
        }
    }
}

const RIDGE: usize = 0;
const KNN: usize = 1;
const MLP: usize = 2;

pub(super) fn read_head(body: &mut Reader<'_>, models: &[String]) -> Result<EmbeddingHead, Unreadable> {
    let n = models.len();
    let width = body.number(MOST_WIDTH)?;
    let n_features = width + N_SURFACE;
    let scales = body.rows::<2>(N_SURFACE)?;
    let calibrator = body.calibrator(n)?;
    let head = match body.number(MLP)? {
        RIDGE => Head::Ridge(Ridge {
            basis: Basis {
                mean: body.floats(n)?,
                parts: body.rows(n)?,
            },
            weights: body.rows(n_features)?,
        }),
        KNN => {
            let k = body.number(crate::heads::MOST_K)?.max(1);
            let n_rows = body.number(MOST_ROWS)?;
            Head::Knn(Knn {
                k,
                features: Matrix::new(n_features, body.floats(n_rows * n_features)?),
                labels: Matrix::new(n.max(1), body.floats(n_rows * n)?),
                counts: body.floats(n_rows)?,
            })
        }
        _ => Head::Mlp(Mlp {
            first: Matrix::new(
                crate::heads::HIDDEN,
                body.floats((n_features + 1) * crate::heads::HIDDEN)?,
            ),
            second: Matrix::new(crate::heads::HIDDEN + 1, body.floats(n * (crate::heads::HIDDEN + 1))?),
        }),
    };
    Ok(EmbeddingHead {
        models: models.to_vec(),
        width,
        surface_scales: std::array::from_fn(|at| (scales[at][0], scales[at][1])),
        head,
        calibrator,
    })
}
