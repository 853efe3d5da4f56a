//! What is counted and measured, through the `metrics` facade. Without the feature nothing is.

#[cfg(feature = "metrics")]
mod gauges;
#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
mod on;
#[cfg(feature = "metrics")]
mod survey;
#[cfg(feature = "metrics")]
mod table;

#[cfg(feature = "metrics")]
pub(crate) use self::gauges::Gauges;
#[cfg(not(feature = "metrics"))]
pub(crate) use self::off::*;
#[cfg(feature = "metrics")]
pub(crate) use self::on::*;
#[cfg(feature = "metrics")]
pub(crate) use self::survey::survey;
#[cfg(feature = "metrics")]
pub use self::table::{METRICS, Metric, MetricKind, describe_metrics};
