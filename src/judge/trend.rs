//! Does a figure of the target go up? Robust statistics, so that one spike is not a leak and noise is not a trend:
//! medians of the ends, the Theil–Sen slope (Sen 1968, <https://doi.org/10.1080/01621459.1968.10480934>) and the bounds
//! that the Mann–Kendall variance gives it.

use crate::{
    measure::data::{StatPoint, StatSeries},
    model::{expr::Spread, run::StatSummary, units::Unit},
};

/// Fewer points than this show no trend.
pub const MIN_POINTS: usize = 10;

/// More points than this are first made fewer, by medians of neighbours: the pairs grow with the square.
const MAX_POINTS: usize = 256;

/// Quantile of the normal distribution for two-sided 95 %.
const Z: f64 = 1.959_964;

/// A smaller rise over the run than this share of the first value is not called a leak.
const LEAK_FLOOR: f64 = 0.01;

/// The ends of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// Median of the first tenth of the readings, at least 3.
    pub first: f64,
    /// Median of the last tenth of the readings, at least 3.
    pub last: f64,
}

impl Growth {
    /// `last / first − 1`; from 0 to something is infinite.
    pub fn ratio(self) -> f64 {
        let rise = self.last - self.first;
        if rise == 0.0 { 0.0 } else { rise / self.first.abs() }
    }

    /// `last − first`, in the stat's unit.
    pub fn absolute(self) -> f64 {
        self.last - self.first
    }
}

/// The slope of a series, per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// Theil–Sen: the median of the slopes of all pairs.
    pub per_second: f64,
    /// Lower 95 % bound.
    pub low: f64,
    /// Upper 95 % bound.
    pub high: f64,
}

/// The median; `None` without values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Median of the last tenth against the first tenth; `None` below 6 readings.
pub fn growth(points: &[StatPoint]) -> Option<Growth> {
    let tenth = (points.len() / 10).max(3);
    if points.len() < 2 * tenth {
        return None;
    }
    let of = |part: &[StatPoint]| median(part.iter().map(|point| point.value).collect());
    Some(Growth { first: of(&points[..tenth])?, last: of(&points[points.len() - tenth..])? })
}

/// Theil–Sen slope with its 95 % bounds; `None` below [`MIN_POINTS`].
pub fn slope(points: &[StatPoint]) -> Option<Slope> {
    if points.len() < MIN_POINTS {
        return None;
    }
    let points = thin(points);
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (index, left) in points.iter().enumerate() {
        let later = points[index + 1..].iter().filter(|right| right.at > left.at);
        slopes.extend(later.map(|right| (right.value - left.value) / (right.at - left.at)));
    }
    slopes.sort_by(f64::total_cmp);
    let last = slopes.len().checked_sub(1)?;
    let spread = Z * variance(&points).sqrt();
    let pairs = slopes.len() as f64;
    let low = ((pairs - spread) / 2.0).floor().max(0.0) as usize;
    let high = f64::midpoint(pairs, spread).ceil() as usize;
    Some(Slope { low: slopes[low.min(last)], high: slopes[high.min(last)], per_second: median(slopes)? })
}

/// Variance of Mann–Kendall's S, ties taken into account.
fn variance(points: &[StatPoint]) -> f64 {
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut values: Vec<f64> = points.iter().map(|point| point.value).collect();
    values.sort_by(f64::total_cmp);
    let ties: f64 =
        values.chunk_by(|left, right| left.total_cmp(right).is_eq()).map(|tie| term(tie.len() as f64)).sum();
    ((term(points.len() as f64) - ties) / 18.0).max(0.0)
}

/// At most [`MAX_POINTS`], each the median of its neighbours.
fn thin(points: &[StatPoint]) -> Vec<StatPoint> {
    let chunk = points.len().div_ceil(MAX_POINTS);
    if chunk <= 1 {
        return points.to_vec();
    }
    let merged = points.chunks(chunk).filter_map(|part| {
        let value = median(part.iter().map(|point| point.value).collect())?;
        Some(StatPoint { at: f64::midpoint(part.first()?.at, part.last()?.at), value })
    });
    merged.collect()
}

/// How much a counter rose over its readings, a fall being a restart from 0. `before` is a reading from before the first
/// one. `None` where there is nothing to compare.
pub fn increase(points: &[StatPoint], before: Option<f64>) -> Option<f64> {
    if points.len() + usize::from(before.is_some()) < 2 {
        return None;
    }
    let mut last = before.or_else(|| points.first().map(|point| point.value))?;
    let mut sum = 0.0;
    for point in points {
        sum += if point.value >= last { point.value - last } else { point.value };
        last = point.value;
    }
    Some(sum)
}

/// How much values differ; `None` below two of them, and where their mean is not above 0.
pub fn spread(how: Spread, values: &[f64]) -> Option<f64> {
    let (count, sum) = (values.len() as f64, values.iter().sum::<f64>());
    if values.len() < 2 || sum <= 0.0 {
        return None;
    }
    let ends = values
        .iter()
        .copied()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let squares: f64 = values.iter().map(|value| value * value).sum();
    Some(match how {
        Spread::Variation => (ends.1 - ends.0) / (sum / count),
        Spread::Fairness => sum * sum / (count * squares),
    })
}

/// The trend of values at equal distances over their whole length: end / start − 1 of the Theil–Sen line. `None` below
/// [`MIN_POINTS`] values, or where the line starts at 0 or below.
pub fn drift(values: &[Option<f64>]) -> Option<f64> {
    let points: Vec<StatPoint> = values
        .iter()
        .enumerate()
        .filter_map(|(index, value)| Some(StatPoint { at: index as f64, value: (*value)? }))
        .collect();
    let slope = slope(&points)?.per_second;
    let intercept = median(points.iter().map(|point| point.value - slope * point.at).collect())?;
    let end = intercept + slope * (values.len() - 1) as f64;
    (intercept > 0.0).then(|| end / intercept - 1.0)
}

/// The figures of a stat that reports show. Counters have no growth, slope and trend: they only rise.
pub fn stat_summary(series: &StatSeries, unit: Unit, counter: bool) -> StatSummary {
    let points = &series.points;
    let values = || points.iter().map(|point| point.value);
    let slope = slope(points).filter(|_| !counter);
    let growth = growth(points).filter(|_| !counter);
    let trend = match (slope, points.first(), points.last()) {
        _ if counter => "none",
        (Some(slope), Some(first), Some(last)) => {
            let rise = slope.per_second * (last.at - first.at);
            let floor = LEAK_FLOOR * first.value.abs();
            if slope.low > 0.0 && rise > floor { "leak" } else { "none" }
        }
        _ => "not_enough_data",
    };
    StatSummary {
        unit: unit.as_str().to_owned(),
        samples: points.len() as u64,
        failed: series.failed,
        first: values().next(),
        last: values().next_back(),
        min: values().min_by(f64::total_cmp),
        max: values().max_by(f64::total_cmp),
        growth_ratio: growth.map(Growth::ratio).filter(|ratio| ratio.is_finite()),
        slope_per_s: slope.map(|slope| slope.per_second),
        trend: trend.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: impl IntoIterator<Item = f64>) -> Vec<StatPoint> {
        values.into_iter().enumerate().map(|(at, value)| StatPoint { at: at as f64, value }).collect()
    }

    /// Noise without a trend: the golden ratio's multiples, evenly spread over −1 to 1.
    fn noise(n: u32) -> f64 {
        (f64::from(n) * 0.618_033_988_75).fract() * 2.0 - 1.0
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn growth_compares_the_ends() {
        assert_eq!(growth(&points([1.0; 5])), None);
        let six = growth(&points([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).expect("enough");
        assert_eq!(six, Growth { first: 2.0, last: 5.0 });
        assert_eq!((six.ratio(), six.absolute()), (1.5, 3.0));
        // A spike at the very end does not decide.
        let spike = points((0..100).map(|n| if n == 99 { 1e9 } else { 100.0 }));
        assert_eq!(growth(&spike).map(Growth::ratio), Some(0.0));
        assert_eq!(growth(&points([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])).map(Growth::ratio), Some(f64::INFINITY));
        assert_eq!(growth(&points([0.0; 6])).map(Growth::ratio), Some(0.0));
    }

    #[test]
    fn slopes_have_bounds() {
        assert_eq!(slope(&points((0..9).map(f64::from))), None);
        let exact = slope(&points((0..100).map(|n| 5.0 + 3.0 * f64::from(n)))).expect("enough");
        assert!(
            (exact.per_second - 3.0).abs() < 1e-9 && (exact.low - 3.0).abs() < 1e-9 && (exact.high - 3.0).abs() < 1e-9
        );
        let flat = slope(&points([7.0; 50])).expect("enough");
        assert_eq!(flat, Slope { per_second: 0.0, low: 0.0, high: 0.0 });
        let noisy = slope(&points((0..200).map(noise))).expect("enough");
        assert!(noisy.low < 0.0 && noisy.high > 0.0, "{noisy:?}");
        let rising = slope(&points((0..200).map(|n| 0.1 * f64::from(n) + noise(n)))).expect("enough");
        assert!(rising.low > 0.09 && rising.high < 0.11 && (rising.per_second - 0.1).abs() < 0.005, "{rising:?}");
    }

    /// Nitrate-like data with a known answer: all 45 pairs by hand in a spreadsheet.
    #[test]
    fn a_known_slope() {
        let values = [3.0, 5.0, 4.0, 7.0, 6.0, 9.0, 8.0, 11.0, 10.0, 12.0];
        let found = slope(&points(values)).expect("enough");
        assert!((found.per_second - 1.0).abs() < 1e-9, "{found:?}");
        assert!(found.low > 0.5 && found.high < 1.5, "{found:?}");
    }

    #[test]
    fn long_series_are_thinned_without_losing_the_slope() {
        let found = slope(&points((0..4000).map(|n| 2.0 * f64::from(n) + 50.0 * noise(n)))).expect("enough");
        assert!((found.per_second - 2.0).abs() < 0.01 && found.low > 1.9, "{found:?}");
    }

    #[test]
    fn increases_survive_a_restart() {
        let check = |values: &[f64], before: Option<f64>, expected: Option<f64>| {
            assert_eq!(increase(&points(values.iter().copied()), before), expected, "{values:?} {before:?}");
        };
        check(&[], None, None);
        check(&[5.0], None, None);
        check(&[5.0], Some(3.0), Some(2.0));
        check(&[5.0, 5.0], None, Some(0.0));
        check(&[5.0, 8.0, 9.0], None, Some(4.0));
        check(&[5.0, 8.0, 2.0, 3.0], None, Some(6.0));
        check(&[5.0, 8.0], Some(100.0), Some(8.0));
        check(&[105.0, 108.0], Some(100.0), Some(8.0));
    }

    #[test]
    fn drift_is_the_rise_of_the_line() {
        let line = |slope: f64| (0..20).map(|n| Some(100.0 + slope * f64::from(n))).collect::<Vec<_>>();
        assert!(drift(&line(0.0)).expect("enough").abs() < 1e-12);
        assert!((drift(&line(1.0)).expect("enough") - 0.19).abs() < 1e-9);
        let mut holes = line(1.0);
        holes[3] = None;
        holes[11] = None;
        assert!((drift(&holes).expect("enough") - 0.19).abs() < 1e-9);
        assert_eq!(drift(&line(1.0)[..9]), None);
        assert_eq!(drift(&[None; 20]), None);
    }

    #[test]
    fn summaries() {
        let of = |values: Vec<f64>, counter| {
            let mut series = StatSeries::default();
            for point in points(values) {
                series.push(point);
            }
            stat_summary(&series, Unit::Bytes, counter)
        };
        let leak = of((0..50).map(|n| 1e9 + 1e6 * f64::from(n)).collect(), false);
        assert_eq!((leak.trend.as_str(), leak.unit.as_str(), leak.samples), ("leak", "B", 50));
        assert_eq!((leak.first, leak.last, leak.min, leak.max), (Some(1e9), Some(1.049e9), Some(1e9), Some(1.049e9)));
        assert!((leak.slope_per_s.expect("enough") - 1e6).abs() < 1.0);
        assert_eq!(of((0..50).map(|n| 1e9 + f64::from(n)).collect(), false).trend, "none");
        assert_eq!(of((0..50).map(|n| 1e9 - 1e6 * f64::from(n)).collect(), false).trend, "none");
        assert_eq!(of(vec![1.0; 3], false).trend, "not_enough_data");
        let counter = of((0..50).map(f64::from).collect(), true);
        assert_eq!((counter.trend.as_str(), counter.growth_ratio, counter.slope_per_s), ("none", None, None));
        assert_eq!(of(vec![], false).last, None);
        for unit in [Unit::Count, Unit::Seconds, Unit::Ratio, Unit::Bytes, Unit::PerSecond, Unit::BytesPerSecond] {
            assert_eq!(Unit::named(&stat_summary(&StatSeries::default(), unit, false).unit), unit, "is read back");
        }
    }
}
