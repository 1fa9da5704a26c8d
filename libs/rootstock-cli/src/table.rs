//! Tables that fit the terminal.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Width, presets};

/// Two spaces between columns.
const GAP: u16 = 2;
/// A column that gives way is no narrower than this.
const NARROWEST: u16 = 8;

/// Rows under a header.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// One column: what stands above it, and what becomes of it when there is little room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    room: Room,
    right: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Shown as it is.
    Always,
    /// Shown, and cut when there is too little room.
    GivesWay,
    /// Shown when there is room.
    WhenWide,
}

impl Column {
    /// One that is always shown in full.
    pub(super) const fn always(title: &'static str) -> Self {
        Self {
            title,
            room: Room::Always,
            right: false,
        }
    }

    /// One that is cut when there is too little room.
    pub(super) const fn gives_way(title: &'static str) -> Self {
        Self {
            title,
            room: Room::GivesWay,
            right: false,
        }
    }

    /// One that is shown only when there is room for it, and never where there is no terminal: what
    /// a script sees does not depend on a screen.
    pub(super) const fn when_wide(title: &'static str) -> Self {
        Self {
            title,
            room: Room::WhenWide,
            right: false,
        }
    }

    /// The same, with numbers under it.
    pub(super) const fn right(self) -> Self {
        Self { right: true, ..self }
    }
}

impl Table {
    /// A table with no rows yet.
    pub(super) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: a cell for each column.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len(), "a cell for each column");
        // A line break in a cell would break the table.
        self.rows
            .push(cells.map(|cell| cell.replace(['\n', '\r', '\t'], " ")).into());
    }

    /// The table as text, each line ended. `width` is that of the terminal; `None` where there is
    /// none.
    pub(super) fn render(&self, width: Option<u16>) -> String {
        let shown = self.shown(width);
        let widths = self.fit(&shown, width);
        let mut table = self.build(&shown);
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_truncation_indicator("…");
        table.set_constraints(
            widths
                .iter()
                .map(|width| ColumnConstraint::Absolute(Width::Fixed(width + GAP))),
        );
        table.set_width(widths.iter().map(|width| width + GAP).sum());
        table
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }

    /// Which columns there is room for.
    fn shown(&self, width: Option<u16>) -> Vec<usize> {
        let needed = |room: Room| room != Room::WhenWide;
        let mut shown: Vec<usize> = (0..self.columns.len())
            .filter(|at| needed(self.columns[*at].room))
            .collect();
        let Some(width) = width else {
            return shown;
        };
        let all = self.content_widths();
        let mut used: u16 = shown.iter().map(|at| all[*at] + GAP).sum();
        for (at, column) in self.columns.iter().enumerate() {
            if column.room != Room::WhenWide {
                continue;
            }
            used = used.saturating_add(all[at] + GAP);
            // The first that does not fit ends it: which are shown is then easy to foresee.
            if used > width + GAP {
                break;
            }
            shown.push(at);
        }
        shown
    }

    /// The width of each shown column: its content's, or less for those that give way.
    fn fit(&self, shown: &[usize], width: Option<u16>) -> Vec<u16> {
        let all = self.content_widths();
        let mut widths: Vec<u16> = shown.iter().map(|at| all[*at]).collect();
        let Some(width) = width else {
            return widths;
        };
        // The last column's gap may fall off the edge.
        while widths.iter().map(|width| width + GAP).sum::<u16>() > width.saturating_add(GAP) {
            let widest = (0..widths.len())
                .filter(|at| self.columns[shown[*at]].room == Room::GivesWay && widths[*at] > NARROWEST)
                .max_by_key(|at| widths[*at]);
            match widest {
                Some(at) => widths[at] -= 1,
                None => break,
            }
        }
        widths
    }

    fn content_widths(&self) -> Vec<u16> {
        let every: Vec<usize> = (0..self.columns.len()).collect();
        self.build(&every).column_max_content_widths()
    }

    fn build(&self, shown: &[usize]) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(shown.iter().map(|at| self.columns[*at].title));
        for row in &self.rows {
            let mut cells = comfy_table::Row::from(shown.iter().map(|at| row[*at].as_str()));
            cells.max_height(1);
            table.add_row(cells);
        }
        for (column, at) in table.column_iter_mut().zip(shown) {
            column.set_padding((0, GAP));
            if self.columns[*at].right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::always("ID"),
            Column::gives_way("NAME"),
            Column::always("SIZE").right(),
            Column::when_wide("ALIASES"),
        ]);
        table.row(["aa", "debian:bookworm:amd64:default", "1.21 GiB", "debian/12"].map(str::to_owned));
        table.row(["bb", "alpine", "3 B", "alpine/edge, alpine\nnewest"].map(str::to_owned));
        table
    }

    #[test]
    fn a_script_sees_every_column_that_is_always_there() {
        assert_eq!(
            table().render(None),
            "ID  NAME                               SIZE\n\
             aa  debian:bookworm:amd64:default  1.21 GiB\n\
             bb  alpine                              3 B\n"
        );
    }

    #[test]
    fn a_wide_terminal_sees_more() {
        assert_eq!(
            table().render(Some(100)),
            "ID  NAME                               SIZE  ALIASES\n\
             aa  debian:bookworm:amd64:default  1.21 GiB  debian/12\n\
             bb  alpine                              3 B  alpine/edge, alpine newest\n"
        );
    }

    #[test]
    fn a_narrow_terminal_sees_names_cut() {
        let text = table().render(Some(30));
        assert_eq!(
            text,
            "ID  NAME                  SIZE\n\
             aa  debian:bookworm…  1.21 GiB\n\
             bb  alpine                 3 B\n"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 30));
    }

    #[test]
    fn nothing_is_a_header() {
        assert_eq!(
            Table::new(&[Column::always("ID"), Column::always("NAME")]).render(None),
            "ID  NAME\n"
        );
    }
}
