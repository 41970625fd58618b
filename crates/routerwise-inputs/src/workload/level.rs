//! `[[level]]`: how the rate varies over the day.

use routerwise_types::workload::{Level, MOST_LEVELS};

use crate::quantity::{FACTOR, SHARE};
use crate::text::Table;

/// All levels; one of the whole day where none are listed.
pub(super) fn read(root: &mut Table<'_>) -> Option<Vec<Level>> {
    let Some(value) = root.take("level") else {
        return Some(vec![Level::always()]);
    };
    let place = value.place();
    let entries = value.list()?;
    if entries.is_empty() || entries.len() > MOST_LEVELS {
        return place.refuse(
            format!("there are {} load levels", entries.len()),
            format!("list 1 to {MOST_LEVELS}, or none for a rate that does not vary"),
        );
    }
    let mut levels: Vec<Option<Level>> = Vec::new();
    for value in entries {
        let place = value.place();
        let level = value.table().and_then(one);
        if let Some(level) = &level
            && levels.iter().flatten().any(|other| other.name == level.name)
        {
            place.refuse::<()>(
                format!("the load level `{}` is there twice", level.name),
                "give each a name of its own",
            );
        }
        levels.push(level);
    }
    let levels: Vec<Level> = levels.into_iter().collect::<Option<_>>()?;
    let busiest = levels.iter().map(|level| level.part).fold(0.0, f64::max);
    if busiest < 1.0 {
        return place.refuse(
            format!(
                "no load level has the whole rate: the busiest has {:.0} % of it",
                100.0 * busiest
            ),
            "`rate` is that of the busiest level: give that one `part = \"100 %\"`",
        );
    }
    Some(levels)
}

fn one(mut table: Table<'_>) -> Option<Level> {
    let name = table.require("name", "\"night\"").and_then(|value| value.string());
    let part = table
        .require("part", "\"30 %\"")
        .and_then(|value| value.quantity(&SHARE));
    let hours = table.require("hours", "8").and_then(|value| value.quantity(&FACTOR));
    table.finish();
    Some(Level {
        name: name?,
        part: part?,
        hours: hours?,
    })
}
