//! A leader that hears from no majority steps down (dissertation §6.2; Cloudflare's outage of November
//! 2020), or it would keep those that it still reaches from following one who can lead, and its clients
//! from being told.
//!
//! Judged by what had reached it, by its own clock: answers to what it sends as the leader of its term.

use std::collections::BTreeMap;
use std::time::Duration;

use kvnode_core::election::Voters;
use kvnode_core::{Instant, Member, Term};

use super::Found;

/// What the leaders have heard.
#[derive(Default)]
pub(crate) struct Heard(BTreeMap<u32, Reign>);

struct Reign {
    me: Member,
    life: u64,
    term: Term,
    voters: Voters,
    /// When it began to lead, or its voters were others last.
    since: Instant,
    heard: BTreeMap<Member, Instant>,
}

impl Heard {
    /// A node leads a term in one of its lives, with these voters.
    pub(crate) fn leads(
        &mut self,
        (node, life): (u32, u64),
        me: Member,
        term: Term,
        voters: &Voters,
        now: Instant,
    ) {
        let reign = self.0.entry(node).or_insert_with(|| Reign {
            me,
            life,
            term,
            voters: voters.clone(),
            since: now,
            heard: BTreeMap::new(),
        });
        if (reign.me, reign.life, reign.term) != (me, life, term) {
            (reign.me, reign.life, reign.term) = (me, life, term);
            reign.heard.clear();
            reign.since = now;
        }
        if reign.voters != *voters {
            reign.voters = voters.clone();
            reign.since = now;
        }
    }

    /// A node leads no more.
    pub(crate) fn leads_not(&mut self, node: u32) {
        self.0.remove(&node);
    }

    /// An answer of this term has come to a node.
    pub(crate) fn hears(&mut self, node: u32, from: Member, term: Term, now: Instant) {
        if let Some(reign) = self.0.get_mut(&node)
            && reign.term == term
        {
            reign.heard.insert(from, now);
        }
    }

    /// A node is looked at that may lead. `patience`: how long it may do so without a majority.
    pub(crate) fn look(&self, node: u32, now: Instant, patience: Duration) -> Option<Found> {
        let reign = self.0.get(&node)?;
        let last = |voter: Member| match reign.heard.get(&voter) {
            _ if voter == reign.me => now,
            Some(&heard) => heard.max(reign.since),
            None => reign.since,
        };
        let mut times: Vec<Instant> = reign.voters.iter().map(last).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        let silent = now.since(*times.get(reign.voters.quorum() - 1)?);
        (silent > patience).then(|| {
            let text = format!(
                "n{node} still leads {}, and has heard from no majority of {} for {silent:?}",
                reign.term, reign.voters
            );
            ("leads unheard", text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::member;
    use super::*;

    #[test]
    fn a_leader_that_hears_from_no_majority_and_stays_is_seen() {
        let ms = |ms: u64| Instant(ms * 1_000_000);
        let voters = Voters::new((1..=3).map(member));
        let mut heard = Heard::default();
        let lead = |heard: &mut Heard, term, voters: &Voters, now| {
            heard.leads((1, 7), member(1), Term(term), voters, ms(now));
        };
        let is = |heard: &Heard, now| heard.look(1, ms(now), Duration::from_millis(100)).is_some();
        lead(&mut heard, 2, &voters, 0);
        assert!(!is(&heard, 100) && is(&heard, 101), "nobody has answered");
        heard.hears(1, member(2), Term(2), ms(50));
        heard.hears(1, member(3), Term(1), ms(80));
        assert!(!is(&heard, 150) && is(&heard, 151), "an answer of another term");
        lead(&mut heard, 2, &Voters::new((1..=4).map(member)), 200);
        assert!(!is(&heard, 300) && is(&heard, 301), "other voters");
        lead(&mut heard, 3, &voters, 400);
        heard.hears(1, member(9), Term(3), ms(480));
        assert!(is(&heard, 501), "no voter");
        heard.leads_not(1);
        assert!(!is(&heard, 900));
    }
}
