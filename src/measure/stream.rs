//! What is measured of streamed answers: when the first token came, the gaps between tokens, stalls.

use std::time::Duration;

use super::dist::Dist;

/// What was measured of one streamed answer; instants count from the origin that the meter was fed with.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// Seconds between events with a token.
    pub gaps: Dist,
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
}

/// The streamed answers of one series; over those that ended ok, but for the stalls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamSeries {
    /// Seconds from the intended instant to the first token.
    pub ttft: Dist,
    /// Seconds between tokens.
    pub itl: Dist,
    /// Seconds per token after the first one.
    pub tpot: Dist,
    /// Tokens of an answer.
    pub tokens: Dist,
    /// Tokens per second of service time.
    pub speed: Dist,
    /// Waits for a token longer than `stall`, those of answers that did not end ok included.
    pub stalls: u64,
}

impl StreamSeries {
    /// Records one answer; `service` is first byte written to last byte read.
    pub fn record(&mut self, sample: &StreamSample, ok: bool, service: Option<Duration>) {
        self.stalls += sample.stalls;
        if !ok {
            return;
        }
        let tokens = sample.tokens() as f64;
        self.tokens.record(tokens);
        self.itl.merge(&sample.gaps);
        sample.first_token.into_iter().for_each(|time| self.ttft.record(time.as_secs_f64()));
        sample.tpot().into_iter().for_each(|time| self.tpot.record(time.as_secs_f64()));
        if let Some(service) = service.filter(|service| *service > Duration::ZERO && tokens > 0.0) {
            self.speed.record(tokens / service.as_secs_f64());
        }
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        self.ttft.merge(&other.ttft);
        self.itl.merge(&other.itl);
        self.tpot.merge(&other.tpot);
        self.tokens.merge(&other.tokens);
        self.speed.merge(&other.speed);
        self.stalls += other.stalls;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_an_answer() {
        let ms = Duration::from_millis;
        let sample = StreamSample { first_token: Some(ms(300)), ended: ms(1300), chunks: 6, ..StreamSample::default() };
        assert_eq!((sample.tokens(), sample.tpot()), (6, Some(ms(200))));
        let told = StreamSample { usage: Some(11), ..sample.clone() };
        assert_eq!((told.tokens(), told.tpot()), (11, Some(ms(100))));
        let one = StreamSample { usage: Some(1), ..sample };
        assert_eq!((one.tpot(), StreamSample::default().tpot()), (None, None));
        let mut series = StreamSeries::default();
        series.record(&told, true, Some(ms(1000)));
        series.record(&StreamSample { stalls: 2, ..told.clone() }, false, Some(ms(1000)));
        series.record(&StreamSample { ended: ms(9), ..StreamSample::default() }, true, None);
        let counts = [&series.ttft, &series.tpot, &series.tokens, &series.speed].map(Dist::count);
        assert_eq!((counts, series.stalls), ([1, 1, 2, 1], 2));
        assert_eq!((series.speed.max(), series.tokens.sum()), (Some(11.0), 11.0));
    }
}
