//! The figures that there are: their names, units, and which way is better.

use serde::Serialize;

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    RequestsPerSecond,
    DeliveriesPerSecond,
    ConnectsPerSecond,
    /// Milliseconds until the last of all sockets was open.
    OpenMs,
    P50Ms,
    P99Ms,
    P999Ms,
    MaxMs,
    /// CPU microseconds of the servers, for each request, delivery, or connect.
    ServerCpuUs,
    /// Resident memory of the servers, in bytes.
    ServersRssBytes,
    /// What each socket added to that.
    ServersBytesPerSocket,
    /// What each socket added to nginx.
    NginxBytesPerSocket,
    /// Milliseconds from the start of a server to its first answer.
    StartMs,
    /// Size on disk of what runs, in bytes.
    ProgramBytes,
    /// How many cores' worth of time the servers took.
    ServerCores,
    /// The same of nginx.
    NginxCores,
    /// The same of the load generator.
    LoadCores,
}

impl Metric {
    /// For a row of the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests/s",
            Self::DeliveriesPerSecond => "deliveries/s",
            Self::ConnectsPerSecond => "connects/s",
            Self::OpenMs => "all open after",
            Self::P50Ms => "p50",
            Self::P99Ms => "p99",
            Self::P999Ms => "p99.9",
            Self::MaxMs => "longest",
            Self::ServerCpuUs => "server CPU for each",
            Self::ServersRssBytes => "servers' memory",
            Self::ServersBytesPerSocket => "a socket in a server",
            Self::NginxBytesPerSocket => "a socket in nginx",
            Self::StartMs => "start to first answer",
            Self::ProgramBytes => "size on disk",
            Self::ServerCores => "cores: servers",
            Self::NginxCores => "cores: nginx",
            Self::LoadCores => "cores: this load",
        }
    }

    /// A value with its unit.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::RequestsPerSecond | Self::DeliveriesPerSecond | Self::ConnectsPerSecond => {
                grouped(value)
            }
            Self::OpenMs
            | Self::P50Ms
            | Self::P99Ms
            | Self::P999Ms
            | Self::MaxMs
            | Self::StartMs => {
                format!("{} ms", digits(value))
            }
            Self::ServerCores | Self::NginxCores | Self::LoadCores => format!("{value:.2}"),
            Self::ServerCpuUs => format!("{} µs", digits(value)),
            Self::ServersRssBytes | Self::ProgramBytes => {
                format!("{} MiB", digits(value / 1_048_576.0))
            }
            Self::ServersBytesPerSocket | Self::NginxBytesPerSocket => {
                format!("{} kB", digits(value / 1_000.0))
            }
        }
    }

    /// Whether one stack's is to be divided by the other's: how a machine was shared is no
    /// merit of either.
    pub(crate) fn is_compared(self) -> bool {
        !matches!(self, Self::ServerCores | Self::NginxCores | Self::LoadCores)
    }

    /// Whether more is better; of all others less is.
    pub(crate) fn more_is_better(self) -> bool {
        matches!(
            self,
            Self::RequestsPerSecond | Self::DeliveriesPerSecond | Self::ConnectsPerSecond
        )
    }
}

/// Three digits that count.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 1.0 => format!("{value:.3}"),
        small if small < 10.0 => format!("{value:.2}"),
        small if small < 100.0 => format!("{value:.1}"),
        _ => grouped(value),
    }
}

/// A whole number, with a comma after each three digits.
pub(crate) fn grouped(value: f64) -> String {
    let whole = format!("{:.0}", value.abs());
    let mut text = String::new();
    if value < 0.0 {
        text.push('-');
    }
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_with_three_digits_and_their_unit() {
        for (metric, value, shown) in [
            (Metric::RequestsPerSecond, 110_402.7, "110,403"),
            (Metric::RequestsPerSecond, 999.0, "999"),
            (Metric::P99Ms, 3.2049, "3.20 ms"),
            (Metric::P50Ms, 0.0421, "0.042 ms"),
            (Metric::MaxMs, 1_234.5, "1,234 ms"),
            (Metric::ServersRssBytes, 1_048_576.0 * 12.34, "12.3 MiB"),
            (Metric::ServersBytesPerSocket, 16_700.0, "16.7 kB"),
            (Metric::ServersBytesPerSocket, -1_500.0, "-1.50 kB"),
        ] {
            assert_eq!(metric.show(value), shown);
        }
    }
}
