//! The table of what all drills found: the worst rows of all rounds.

use std::io;

use anyhow::{Result, ensure};
use rustix::termios::tcgetwinsize;

use super::row::{NONE, Row};

/// The worst rows of all rounds.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<(Row, bool)>,
}

/// Who reads the table.
#[derive(Clone, Copy)]
pub(super) enum Format {
    /// Somebody in a terminal of so many columns.
    Terminal(usize),
    Markdown,
}

impl Format {
    /// For the terminal that this program writes to; where it writes to none, for one of 80
    /// columns.
    pub(super) fn of_this_terminal() -> Self {
        let size = tcgetwinsize(io::stdout()).map(|size| usize::from(size.ws_col));
        Self::Terminal(size.ok().filter(|columns| *columns > 0).unwrap_or(80))
    }
}

pub(super) const COLUMNS: usize = 9;
const HEAD: [&str; COLUMNS] = [
    "event",
    "config",
    "sent",
    "lost",
    "twice",
    "late",
    "unknown",
    "untold",
    "well after",
];
/// Those that are left out of a terminal where no row has something to say.
const OPTIONAL: [usize; 5] = [4, 5, 6, 7, 8];
/// The same of a README.
const OPTIONAL_IN_MARKDOWN: [usize; 3] = [5, 6, 7];
/// The margin that notes have in a terminal.
const MARGIN: usize = 2;

impl Table {
    /// Adds a round of one drill. Each round has the same rows.
    pub(super) fn add_round(&mut self, round: Vec<Row>) -> Result<()> {
        if self.rows.is_empty() {
            self.rows = round.into_iter().map(Row::with_verdict).collect();
            return Ok(());
        }
        let same = self.rows.len() == round.len()
            && self.rows.iter().zip(&round).all(|((known, _), row)| {
                known.event == row.event && known.config == row.config && known.what == row.what
            });
        ensure!(same, "the drill's rows are not those of its first round");
        for ((worst, held), row) in self.rows.iter_mut().zip(&round) {
            worst.worsen(row);
            *held &= row.holds();
        }
        Ok(())
    }

    pub(super) fn append(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }

    pub(super) fn all_held(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|(_, held)| *held)
    }

    /// The table, a line a row; in a terminal that is too narrow, the event has a line of
    /// its own, above the rows that are about it.
    pub(super) fn render(&self, format: Format) -> String {
        let lines = self.lines(match format {
            Format::Terminal(_) => &OPTIONAL,
            Format::Markdown => &OPTIONAL_IN_MARKDOWN,
        });
        match format {
            Format::Markdown => markdown(&lines),
            Format::Terminal(columns) => {
                let text = self.with_verdicts(&lines, 2);
                if text
                    .iter()
                    .all(|line| MARGIN + line.chars().count() <= columns)
                {
                    return text.join("\n");
                }
                let narrow: Vec<_> = lines.iter().map(|cells| cells[1..].to_vec()).collect();
                let text = self.with_verdicts(&narrow, 1);
                let mut text: Vec<_> = text.iter().map(|line| format!("  {line}")).collect();
                // From the end, so that what is before keeps its place.
                for row in (0..self.rows.len()).rev() {
                    let event = &self.rows[row].0.event;
                    let is_new = row == 0 || self.rows[row - 1].0.event != *event;
                    if is_new {
                        text.insert(row + 1, event.clone());
                    }
                }
                text.join("\n")
            }
        }
    }

    /// The head and the rows, without the columns that may be left out and say nothing.
    fn lines(&self, optional: &[usize]) -> Vec<Vec<String>> {
        let rows: Vec<_> = self.rows.iter().map(|(row, _)| row.cells()).collect();
        let is_shown = |column: usize| {
            !optional.contains(&column) || rows.iter().any(|cells| cells[column] != NONE)
        };
        let all = [HEAD.map(str::to_owned)].into_iter().chain(rows.clone());
        all.map(|cells| {
            let cells = cells.into_iter().enumerate();
            let shown = cells.filter(|(column, _)| is_shown(*column));
            shown.map(|(_, cell)| cell).collect()
        })
        .collect()
    }

    /// The lines as text, the first so many columns of which are words; behind its verdict.
    fn with_verdicts(&self, lines: &[Vec<String>], words: usize) -> Vec<String> {
        let held = self.rows.iter().map(|(_, held)| mark(*held));
        let verdicts = [' '].into_iter().chain(held);
        verdicts
            .zip(lines)
            .map(|(verdict, cells)| format!("{verdict} {}", aligned(cells, lines, words)))
            .collect()
    }
}

fn markdown(lines: &[Vec<String>]) -> String {
    let numbers = lines[0].len() - 2;
    let rule = format!("|---|---|{}", "--:|".repeat(numbers));
    let mut lines: Vec<_> = lines
        .iter()
        .map(|cells| format!("| {} |", cells.join(" | ")))
        .collect();
    lines.insert(1, rule);
    lines.join("\n")
}

impl Row {
    fn with_verdict(self) -> (Self, bool) {
        let held = self.holds();
        (self, held)
    }
}

fn mark(held: bool) -> char {
    if held { '✓' } else { '✗' }
}

/// The cells of a line, each as wide as the widest of its column: words to the left,
/// numbers to the right.
fn aligned(cells: &[String], lines: &[Vec<String>], words: usize) -> String {
    let padded = cells.iter().enumerate().map(|(column, cell)| {
        let width = lines.iter().map(|line| line[column].chars().count()).max();
        let width = width.unwrap_or_default();
        if column < words {
            format!("{cell:width$}")
        } else {
            format!("{cell:>width$}")
        }
    });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{super::row::tests::row, *};

    #[test]
    fn the_table_says_the_worst_of_all_rounds() {
        let mut table = Table::default();
        for row in [row(0, 900), row(3, 20), row(1, 10)] {
            table.add_round(vec![row]).unwrap();
        }
        assert_eq!(
            table.render(Format::Terminal(80)),
            "  event   config           sent  lost  well after\n\
             ✗ B dies  default  103 requests     3      0.90 s"
        );
        assert_eq!(
            table.render(Format::Markdown),
            "| event | config | sent | lost | twice | well after |\n\
             |---|---|--:|--:|--:|--:|\n\
             | B dies | default | 103 requests | 3 | – | 0.90 s |"
        );
        assert!(!table.all_held());
    }

    #[test]
    fn what_came_late_or_is_unknown_is_shown_where_it_was_counted() {
        let mut table = Table::default();
        table
            .add_round(vec![row(0, 900).late(0).unknown(7)])
            .unwrap();
        assert_eq!(
            table.render(Format::Markdown),
            "| event | config | sent | lost | twice | late | unknown | well after |\n\
             |---|---|--:|--:|--:|--:|--:|--:|\n\
             | B dies | default | 100 requests | 0 | – | 0 | 7 | 0.90 s |"
        );
    }

    #[test]
    fn where_a_terminal_is_too_narrow_the_event_has_a_line_of_its_own() {
        let event = "three servers are replaced one by one, with sockets on them";
        let replaced = |config: &str, lost| {
            Row::new(event, config)
                .counted(30, "sockets", lost)
                .loses_at_most(0)
        };
        let mut table = Table::default();
        let rows = vec![
            replaced("default", 3),
            replaced("max_fails=0", 0),
            row(0, 900),
        ];
        table.add_round(rows).unwrap();
        let wide = table.render(Format::Terminal(120));
        assert_eq!(wide.lines().count(), 1 + 3, "{wide}");
        let text = table.render(Format::Terminal(80));
        assert_eq!(
            text,
            format!(
                "    config               sent  lost  well after\n{event}\n  \
                 ✗ default        30 sockets     3           –\n  \
                 ✓ max_fails=0    30 sockets     0           –\nB dies\n  \
                 ✓ default      100 requests     0      0.90 s"
            )
        );
    }

    #[test]
    fn a_table_without_a_row_proves_nothing() {
        assert!(!Table::default().all_held());
    }
}
