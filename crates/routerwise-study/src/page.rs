//! The page: what the tool makes stands between markers, everything else is written by hand and stays.

use std::path::Path;

use anyhow::{Context, Result};

/// Puts `text` between `<!-- study:NAME -->` and `<!-- /study -->`.
pub(crate) fn put(page: &Path, name: &str, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(page).with_context(|| format!("cannot read `{}`", page.display()))?;
    let new = replaced(&old, name, text).with_context(|| format!("`{}` has no marker `{name}`", page.display()))?;
    std::fs::write(page, new).with_context(|| format!("cannot write `{}`", page.display()))
}

fn replaced(old: &str, name: &str, text: &str) -> Option<String> {
    let opening = format!("<!-- study:{name} -->\n");
    let start = old.find(&opening)? + opening.len();
    let end = start + old[start..].find("<!-- /study -->")?;
    Some(format!("{}\n{}\n\n{}", &old[..start], text.trim_end(), &old[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let old = "a\n<!-- study:x -->\nold\n<!-- /study -->\nb\n<!-- study:y -->\n<!-- /study -->\n";
        let new = replaced(old, "x", "new").unwrap();
        assert_eq!(
            new,
            "a\n<!-- study:x -->\n\nnew\n\n<!-- /study -->\nb\n<!-- study:y -->\n<!-- /study -->\n"
        );
        assert_eq!(replaced(&new, "x", "new").unwrap(), new);
        assert_eq!(replaced(old, "z", "new"), None);
    }
}
