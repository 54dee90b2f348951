//! The report as a picture: of each case the figure that it is about, a bar for each stack.

use anyhow::{Context, Result};
use plotters::{
    prelude::{IntoDrawingArea, Rectangle, SVGBackend, Text},
    style::{Color, FontDesc, FontFamily, FontStyle, RGBColor, TextStyle},
};

use crate::{
    metric::digits,
    report::{Case, Report},
    stack::Stack,
};

const WIDTH: i32 = 800;
const MARGIN: i32 = 24;
const TITLE: i32 = 64;
const BAR: i32 = 22;
/// Between bars of a case, and between cases.
const GAP: i32 = 6;
const BREAK: i32 = 44;
/// Left of the bars are the stacks' names, right of them the figures.
const BARS: (i32, i32) = (MARGIN + 56, WIDTH - 190);

/// The pages' colours, on their light ground.
const GROUND: RGBColor = RGBColor(0xff, 0xff, 0xff);
const INK: RGBColor = RGBColor(0x14, 0x18, 0x1f);
const SOFT: RGBColor = RGBColor(0x4b, 0x55, 0x63);

/// The picture, as SVG.
pub(crate) fn draw(report: &Report) -> Result<String> {
    let mut picture = String::new();
    let height = height(report);
    {
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        let write = |text: String, at: (i32, i32), size: f64, ink: RGBColor| {
            let font = FontDesc::new(FontFamily::SansSerif, size, FontStyle::Normal);
            area.draw(&Text::new(text, at, TextStyle::from(font).color(&ink)))
        };
        let outcome = (|| {
            area.fill(&GROUND)?;
            write(format!("load {}", report.measured), (MARGIN, 16), 20.0, INK)?;
            let machine = &report.machine;
            let rounds = report.asked.get("rounds").copied().unwrap_or(1);
            let place = format!(
                "{}, {} cores · median of {rounds} rounds",
                machine.processor, machine.cores
            );
            write(place, (MARGIN, 42), 12.0, SOFT)?;
            let mut y = TITLE;
            for case in &report.cases {
                let metric = case.headline;
                let ratio = case.ratios.get(&metric).map_or(String::new(), |ratio| {
                    format!(" · Rust / Node {} ×", digits(ratio.median))
                });
                let head = format!("{}: {}{ratio}", case.title, metric.title());
                write(head, (MARGIN, y), 13.0, INK)?;
                y += BAR;
                let figures = || {
                    case.stacks.iter().filter_map(|(stack, rounds)| {
                        Some((*stack, rounds.figures.get(&metric)?.median))
                    })
                };
                let most = figures()
                    .map(|(_, value)| value)
                    .fold(f64::MIN_POSITIVE, f64::max);
                for (stack, value) in figures() {
                    let end = BARS.0 + length(value / most);
                    write(stack.to_string(), (MARGIN, y + 4), 13.0, SOFT)?;
                    let bar = [(BARS.0, y), (end, y + BAR)];
                    area.draw(&Rectangle::new(bar, colour(stack).filled()))?;
                    write(metric.show(value), (end + GAP, y + 4), 13.0, INK)?;
                    y += BAR + GAP;
                }
                y += BREAK - BAR;
            }
            area.present()
        })();
        outcome.ok().context("the chart cannot be drawn")?;
    }
    Ok(picture)
}

fn height(report: &Report) -> i32 {
    let bars = |case: &Case| i32::try_from(case.stacks.len()).unwrap_or(2) * (BAR + GAP);
    let cases = report.cases.iter();
    TITLE + cases.map(|case| bars(case) + BREAK).sum::<i32>()
}

/// Pixels for a share of the longest bar.
#[allow(clippy::cast_possible_truncation)] // A share is between 0 and 1, a bar 500 pixels.
fn length(share: f64) -> i32 {
    (share.clamp(0.0, 1.0) * f64::from(BARS.1 - BARS.0)).round() as i32
}

fn colour(stack: Stack) -> RGBColor {
    match stack {
        Stack::Rust => RGBColor(0x1d, 0x4e, 0xd8),
        Stack::Node => RGBColor(0x8a, 0x5a, 0x00),
    }
}
