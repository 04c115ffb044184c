//! What is measured of streamed answers: when the first token came, the gaps between tokens, stalls.

use std::time::Duration;

use super::hist::Hist;

/// Buckets per power of two: a gap is kept within half a percent.
const PRECISION: u32 = 7;

/// Gaps between the tokens of one answer, in as many bytes as there are different gaps: thousands of answers are measured
/// at once, and a whole histogram for each of them would be 10 KiB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Bucket and count, sorted.
    buckets: Vec<(u16, u32)>,
    sum: Duration,
    min: Duration,
    max: Duration,
    count: u64,
}

impl Gaps {
    /// Adds one gap.
    pub fn record(&mut self, gap: Duration) {
        let bucket = bucket(u32::try_from(gap.as_micros()).unwrap_or(u32::MAX));
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(1),
            Err(at) => self.buckets.insert(at, (bucket, 1)),
        }
        self.min = if self.count == 0 { gap } else { self.min.min(gap) };
        self.max = self.max.max(gap);
        self.sum += gap;
        self.count += 1;
    }

    /// Number of gaps.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest gap; zero without any.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// Adds all of them to a histogram; count, sum, minimum and maximum stay exact.
    pub fn pour(&self, into: &mut Hist) {
        let of_bucket = |(bucket, count): &(u16, u32)| (Duration::from_micros(middle(*bucket)), *count);
        into.record_many(self.buckets.iter().map(of_bucket), self.sum, self.min, self.max);
    }
}

/// Microseconds to a bucket: exact below 128 µs, then 128 buckets for each power of two.
fn bucket(us: u32) -> u16 {
    let shift = (u32::BITS - us.leading_zeros()).saturating_sub(PRECISION + 1);
    ((shift << PRECISION) + (us >> shift)) as u16
}

/// The middle of a bucket, in microseconds.
fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let shift = (bucket >> PRECISION).saturating_sub(1);
    let low = (bucket - (shift << PRECISION)) << shift;
    low + ((1 << shift) >> 1)
}

/// What was measured of one streamed answer; instants count from the origin that the meter was fed with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamSample {
    /// When the first token came.
    pub first_token: Option<Duration>,
    /// When the last token came.
    pub last_token: Option<Duration>,
    /// When the answer ended.
    pub ended: Duration,
    /// Events, those without a token included.
    pub events: u64,
    /// Events with a token.
    pub chunks: u64,
    /// The target's own count of tokens.
    pub usage: Option<u64>,
    /// Times between events with a token.
    pub gaps: Gaps,
    /// Waits for a token longer than `stall`, after the first one.
    pub stalls: u64,
}

impl StreamSample {
    /// Tokens: the target's own count, or the events with a token where it does not tell.
    pub fn tokens(&self) -> u64 {
        self.usage.unwrap_or(self.chunks)
    }

    /// Time per token after the first one: (end − first token) / (tokens − 1); `None` below two tokens.
    pub fn tpot(&self) -> Option<Duration> {
        let others = u32::try_from(self.tokens().checked_sub(1)?).unwrap_or(u32::MAX);
        self.ended.saturating_sub(self.first_token?).checked_div(others)
    }

    /// Tokens per second from `since` (the first byte written, from the same origin) to the end; `None` without tokens.
    pub fn tokens_per_s(&self, since: Duration) -> Option<f64> {
        let seconds = self.ended.saturating_sub(since).as_secs_f64();
        (self.tokens() > 0 && seconds > 0.0).then(|| self.tokens() as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_gap_is_kept_within_half_a_percent(us in 0..u32::MAX) {
            let kept = middle(bucket(us)) as f64;
            prop_assert!((kept - f64::from(us)).abs() <= f64::from(us) / 256.0 + 1e-9, "{us}: {kept}");
        }

        #[test]
        fn buckets_are_in_order(left in 0..u32::MAX, right in 0..u32::MAX) {
            prop_assert_eq!(left.min(right) == left, bucket(left) <= bucket(right) );
        }
    }

    #[test]
    fn gaps_pour_into_a_histogram() {
        let mut gaps = Gaps::default();
        let mut direct = Hist::default();
        for ms in [1, 2, 3, 40, 500] {
            gaps.record(Duration::from_millis(ms));
            direct.record(Duration::from_millis(ms));
        }
        let mut hist = Hist::default();
        Gaps::default().pour(&mut hist);
        assert_eq!(hist.count(), 0);
        gaps.pour(&mut hist);
        let (found, wanted) = (hist.stats(), direct.stats());
        assert_eq!((found.count, found.min, found.max), (wanted.count, wanted.min, wanted.max));
        assert!((hist.sum() - direct.sum()).abs() < 1e-12);
        assert!((found.p50 / wanted.p50 - 1.0).abs() < 0.01, "{found:?} {wanted:?}");
        gaps.pour(&mut hist);
        assert_eq!(hist.count(), 10);
    }

    #[test]
    fn the_figures_of_an_answer() {
        let ms = Duration::from_millis;
        let sample = StreamSample { first_token: Some(ms(300)), ended: ms(1300), chunks: 6, ..StreamSample::default() };
        assert_eq!((sample.tokens(), sample.tpot()), (6, Some(ms(200))));
        assert_eq!(sample.tokens_per_s(ms(100)), Some(5.0));
        let told = StreamSample { usage: Some(11), ..sample.clone() };
        assert_eq!((told.tokens(), told.tpot()), (11, Some(ms(100))));
        let one = StreamSample { usage: Some(1), ..sample };
        assert_eq!((one.tpot(), StreamSample::default().tpot()), (None, None));
        assert_eq!(StreamSample::default().tokens_per_s(ms(0)), None);
    }
}
