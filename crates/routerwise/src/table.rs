//! Tables for people, JSON for programs.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde::Serialize;

/// A table whose columns are aligned as given, one letter each: `l` left, `r` right. Fits the terminal where there is one.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    align: &str,
    rows: impl IntoIterator<Item = [String; N]>,
) -> Table {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.map(|name| Cell::new(name).add_attribute(comfy_table::Attribute::Bold)));
    table.add_rows(rows);
    for (column, align) in table.column_iter_mut().zip(align.chars()) {
        column.set_cell_alignment(if align == 'r' {
            CellAlignment::Right
        } else {
            CellAlignment::Left
        });
    }
    table
}

/// A value as indented JSON.
pub(crate) fn print_json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value).expect("answers hold only what JSON holds");
    writeln!(out, "{text}")
}
