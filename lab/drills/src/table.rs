//! The table of what all drills found: the worst rows of all rounds.

use std::io;

use anyhow::{Result, ensure};
use rustix::termios::tcgetwinsize;

use super::row::{COLUMNS, NONE, Row, Verdict};

/// The worst rows of all rounds, each with its worst verdict.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<(Row, Verdict)>,
}

/// Where the table is read.
#[derive(Clone, Copy)]
pub(super) enum Format {
    /// In a terminal of that many columns.
    Terminal(usize),
    Markdown,
}

impl Format {
    /// For the terminal that this program writes to, or for 80 columns if it writes to a pipe.
    pub(super) fn of_this_terminal() -> Self {
        let size = tcgetwinsize(io::stdout()).map(|size| usize::from(size.ws_col));
        Self::Terminal(size.ok().filter(|columns| *columns > 0).unwrap_or(80))
    }
}

/// The headings. In a terminal, a long one has two lines.
const HEAD: [&str; COLUMNS] = [
    "event",
    "config",
    "sent",
    "lost",
    "duplicates",
    "out of\norder",
    "sender\nnot sure",
    "lost, sender\ntold OK",
    "recovered\nafter",
];
/// Columns that a terminal leaves out if all their cells are empty.
const OPTIONAL: [usize; 5] = [4, 5, 6, 7, 8];
/// Columns that Markdown leaves out if all their cells are empty.
const OPTIONAL_IN_MARKDOWN: [usize; 3] = [5, 6, 7];
/// The margin of a note in a terminal.
const MARGIN: usize = 2;

impl Table {
    /// Adds a round of one drill. Each round has the same rows.
    pub(super) fn add_round(&mut self, round: Vec<Row>) -> Result<()> {
        ensure!(
            !round.is_empty(),
            "the drill counted nothing, so it shows nothing"
        );
        if self.rows.is_empty() {
            let rows = round.into_iter().map(|row| {
                let verdict = row.verdict();
                (row, verdict)
            });
            self.rows = rows.collect();
            return Ok(());
        }
        let same = self.rows.len() == round.len()
            && self.rows.iter().zip(&round).all(|((known, _), row)| {
                known.event == row.event && known.config == row.config && known.what == row.what
            });
        ensure!(
            same,
            "the rows of this round differ from those of the first round"
        );
        for ((worst, verdict), row) in self.rows.iter_mut().zip(&round) {
            worst.worsen(row);
            *verdict = verdict.or_worse(row.verdict());
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn append(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }

    /// The table, one line for each row. If the terminal is too narrow, each event gets a line of
    /// its own, above its rows.
    pub(super) fn render(&self, format: Format) -> String {
        match format {
            Format::Markdown => {
                let head = HEAD.map(|heading| heading.replace('\n', " "));
                markdown(&self.lines(vec![head], &OPTIONAL_IN_MARKDOWN))
            }
            Format::Terminal(columns) => {
                let head = vec![
                    HEAD.map(|heading| heading.split_once('\n').map_or("", |two| two.0).to_owned()),
                    HEAD.map(|heading| {
                        heading
                            .split_once('\n')
                            .map_or(heading, |two| two.1)
                            .to_owned()
                    }),
                ];
                let mut lines = self.lines(head, &OPTIONAL);
                if lines[0].iter().all(String::is_empty) {
                    lines.remove(0);
                }
                self.text(&lines, columns)
            }
        }
    }

    fn text(&self, lines: &[Vec<String>], columns: usize) -> String {
        let text = self.with_verdicts(lines, 2);
        let fits = |line: &String| MARGIN + line.chars().count() <= columns;
        if text.iter().all(fits) {
            return text.join("\n");
        }
        let narrow: Vec<_> = lines.iter().map(|cells| cells[1..].to_vec()).collect();
        let mut text = self.with_verdicts(&narrow, 1);
        let head = lines.len() - self.rows.len();
        // From the end: an insertion moves only the lines behind it.
        for row in (0..self.rows.len()).rev() {
            let event = &self.rows[row].0.event;
            let is_new = row == 0 || self.rows[row - 1].0.event != *event;
            if is_new {
                text.insert(head + row, event.clone());
            }
        }
        text.join("\n")
    }

    /// The head and the rows, without the optional columns that are empty.
    fn lines(&self, mut head: Vec<[String; COLUMNS]>, optional: &[usize]) -> Vec<Vec<String>> {
        let rows: Vec<_> = self.rows.iter().map(|(row, _)| row.cells()).collect();
        let is_shown = |column: usize| {
            !optional.contains(&column) || rows.iter().any(|cells| cells[column] != NONE)
        };
        head.extend(rows.iter().cloned());
        let lines = head.into_iter().map(|cells| {
            let cells = cells.into_iter().enumerate();
            let shown = cells.filter(|(column, _)| is_shown(*column));
            shown.map(|(_, cell)| cell).collect()
        });
        lines.collect()
    }

    /// The lines as text, each after its verdict. The first `words` columns are words.
    fn with_verdicts(&self, lines: &[Vec<String>], words: usize) -> Vec<String> {
        let marks = self.rows.iter().map(|(_, verdict)| mark(*verdict));
        let head = lines.len() - self.rows.len();
        let verdicts = std::iter::repeat_n(' ', head).chain(marks);
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

/// The same signs as in front of the claims.
fn mark(verdict: Verdict) -> char {
    match verdict {
        Verdict::Works => '✓',
        Verdict::FailsAsPredicted => '!',
        Verdict::Broken => '✗',
    }
}

/// The cells of a line, padded to the width of their columns: words left, numbers right.
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
    fn the_table_shows_the_worst_of_all_rounds() {
        let mut table = Table::default();
        for row in [row(0, 900), row(3, 20), row(1, 10)] {
            table.add_round(vec![row]).unwrap();
        }
        assert_eq!(
            table.render(Format::Terminal(80)),
            "                                       recovered\n  \
               event   config           sent  lost      after\n\
             ✗ B dies  default  103 requests     3     0.90 s"
        );
        assert_eq!(
            table.render(Format::Markdown),
            "| event | config | sent | lost | duplicates | recovered after |\n\
             |---|---|--:|--:|--:|--:|\n\
             | B dies | default | 103 requests | 3 | – | 0.90 s |"
        );
    }

    #[test]
    fn a_predicted_failure_has_no_tick() {
        let mut table = Table::default();
        for lost in [1, 0] {
            table.add_round(vec![row(lost, 10).may_lose()]).unwrap();
        }
        let text = table.render(Format::Terminal(80));
        assert!(text.lines().last().unwrap().starts_with('!'), "{text}");
    }

    #[test]
    fn a_column_is_shown_if_one_row_has_a_count_for_it() {
        let mut table = Table::default();
        table
            .add_round(vec![row(0, 900).out_of_order(0).sender_not_sure(7)])
            .unwrap();
        assert_eq!(
            table.render(Format::Markdown),
            "| event | config | sent | lost | duplicates | out of order | sender not sure | recovered after |\n\
             |---|---|--:|--:|--:|--:|--:|--:|\n\
             | B dies | default | 100 requests | 0 | – | 0 | 7 | 0.90 s |"
        );
    }

    #[test]
    fn in_a_narrow_terminal_the_event_has_a_line_of_its_own() {
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
        assert_eq!(wide.lines().count(), 2 + 3, "{wide}");
        let text = table.render(Format::Terminal(80));
        assert_eq!(
            text,
            format!(
                "                                   recovered\n  \
                   config               sent  lost      after\n{event}\n\
                 ✗ default        30 sockets     3          –\n\
                 ✓ max_fails=0    30 sockets     0          –\nB dies\n\
                 ✓ default      100 requests     0     0.90 s"
            )
        );
    }

    #[test]
    fn a_round_without_a_row_is_an_error() {
        assert!(Table::default().add_round(Vec::new()).is_err());
    }
}
