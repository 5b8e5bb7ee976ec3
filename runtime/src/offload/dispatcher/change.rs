//! How cores go over to other streams, or to another promise to the same ones.
//!
//! Admission proves that deadlines are kept from a time on at which a core has nothing
//! to do. What it was given under an earlier promise is not in that proof: a segment may
//! be longer than any that the new one lets block, and a stream that leaves still wants
//! its time. So a core goes over at an idle instant: the protocol of K. Tindell, A.
//! Alonso, "A very simple protocol for mode changes in priority preemptive systems",
//! 1996, as J. Real, A. Crespo, "Mode Change Protocols for Real-Time Systems: A Survey
//! and a New Proposal", Real-Time Systems 26, 2004, has it. Until then all goes on as it
//! was promised.
//!
//! An idle instant comes, as what was admitted never keeps a core busy for longer than
//! its test has found, and soon, as nothing is left to wait for: from the request on no
//! input is offloaded, and those that are under way are armed at once, which the promise
//! allows at any time. An input that came too early for a stream that becomes another
//! one is given back: whoever sent it asks again, and is answered by what comes. One of
//! a stream that stays as it is waits, and is as an input that comes later.
//!
//! Cores are independent of each other and go over one by one. A stream that moves is
//! served where it was until the core that it moves to has gone over, and only then may
//! the one that it leaves; cores that swap streams do so at an instant at which both
//! are idle.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Dispatched, Dispatcher, InputId};
use crate::admission::{Admission, Plan, Stream};
use crate::executor::Service;
use crate::offload::subject::Subject;

/// What a change has begun with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// What each stream is named by.
    pub named: Vec<usize>,
    /// Inputs that came too early, and are not answered: whoever sent them asks again.
    pub given_back: Vec<InputId>,
}

/// What is to be served in the place of what is.
#[derive(Debug)]
pub(super) struct Change {
    /// The streams of the new set; none where the set stays.
    served: Option<Vec<usize>>,
    /// What becomes of each stream on a core that has not gone over yet.
    then: BTreeMap<usize, Then>,
    /// Which cores have gone over.
    over: Vec<bool>,
}

#[derive(Debug)]
enum Then {
    /// It is promised this, as what it is.
    Promise(Service),
    /// Nothing is promised to it, as long as it is set aside.
    SetAside,
    /// It is another one, on this core. `alike` where no input can tell.
    Serve { core: usize, service: Service, stream: Stream, models: Vec<Subject>, alike: bool },
    /// It is not served any more.
    Leave,
}

impl Then {
    /// The core that it changes with; none where it is the one that the stream is on.
    fn core(&self) -> Option<usize> {
        match self {
            Then::Serve { core, .. } => Some(*core),
            Then::Promise(_) | Then::SetAside | Then::Leave => None,
        }
    }

    fn is_alike(&self) -> bool {
        matches!(self, Then::Promise(_) | Then::Serve { alike: true, .. })
    }
}

impl Dispatcher {
    /// Goes over to these streams, as `admission` admitted them, and no others: each core
    /// at its next idle instant, which may be now. The models of each answer its inputs;
    /// several, where each input is one's. A stream that was served before goes on: its
    /// next input is a period after the last one, and inputs under way are answered by
    /// the model that they were placed for. What an earlier change has not come to is
    /// forgotten.
    pub fn change(
        &mut self,
        now: Duration,
        streams: &[Stream],
        admission: &Admission,
        models: Vec<Vec<Subject>>,
    ) -> Begun {
        let mut then = BTreeMap::new();
        let mut named = Vec::new();
        for ((stream, admitted), models) in streams.iter().zip(&admission.streams).zip(models) {
            let core = admitted.core;
            let service = Service::of(stream, admitted, &self.executor);
            let known = self.streams.iter().position(|other| other.asked.name == stream.name);
            let index = known.unwrap_or_else(|| self.introduce(stream, core, &service));
            let alike = self.streams[index].is_alike(core, stream, &models);
            let stream = stream.clone();
            then.insert(index, Then::Serve { core, service, stream, models, alike });
            named.push(index);
        }
        for index in self.served.iter().filter(|index| !named.contains(index)) {
            then.insert(*index, Then::Leave);
        }
        let served = Some(named.clone());
        self.change = Some(Change { served, then, over: vec![false; self.cores.len()] });
        let given_back = self.hasten(now);
        self.go_over(now);
        Begun { named, given_back }
    }

    /// Goes over to this promise, to the streams of [`Self::present`]: at once where
    /// execution times have become longer, as what was promised of them does not hold any
    /// more, whatever is done; otherwise each core at its next idle instant. What is set
    /// aside is so from now on. Nothing is done while the set changes: the plan is for
    /// another one. Returns the inputs that are given back.
    pub fn adopt(&mut self, now: Duration, plan: &Plan) -> Vec<InputId> {
        if self.is_changing() {
            return Vec::new();
        }
        let mut then = BTreeMap::new();
        for (&index, _) in self.served.iter().zip(&plan.set_aside).filter(|(_, aside)| **aside) {
            self.streams[index].set_aside = true;
            then.insert(index, Then::SetAside);
        }
        for (present, stream, admitted) in &plan.admitted {
            let index = self.served[*present];
            let service = Service::of(stream, admitted, &self.executor);
            let overload = self.streams[index].asked.overload;
            then.insert(index, Then::Promise(Service { overload, ..service }));
        }
        let longer = then.iter().any(|(&index, then)| match then {
            Then::Promise(service) => service.wcet() > self.service(index).wcet(),
            _ => false,
        });
        self.change = Some(Change { served: None, then, over: vec![false; self.cores.len()] });
        let given_back = self.hasten(now);
        if longer {
            (0..self.cores.len()).for_each(|core| self.go_over_on(core));
        }
        self.go_over(now);
        given_back
    }

    /// Whether the set is on its way to another one.
    pub fn is_changing(&self) -> bool {
        self.change.as_ref().is_some_and(|change| change.served.is_some())
    }

    /// Whether an input of a stream that comes too early has to come again, when the
    /// stream has become another one.
    pub(super) fn becomes_another(&self, stream: usize) -> bool {
        let then = self.change.as_ref().and_then(|change| change.then.get(&stream));
        then.is_some_and(|then| !then.is_alike())
    }

    /// A stream of a new name, which is not served yet.
    fn introduce(&mut self, stream: &Stream, core: usize, service: &Service) -> usize {
        let index = self.streams.len();
        let place = self.cores[core].add(service.clone(), None);
        self.on_core[core].push(index);
        self.streams.push(Dispatched::new(stream.clone(), core, place));
        index
    }

    /// Has the idle instants come soon. Returns what is given back.
    fn hasten(&mut self, now: Duration) -> Vec<InputId> {
        self.cores.iter_mut().for_each(|core| core.arm_all(now));
        let others: Vec<usize> =
            (0..self.streams.len()).filter(|&stream| self.becomes_another(stream)).collect();
        let early = others.into_iter().filter_map(|stream| {
            let Dispatched { core, place, .. } = self.streams[stream];
            let job = self.cores[core].give_back(now, place)?;
            Some(InputId { core, job })
        });
        let given_back: Vec<InputId> = early.collect();
        given_back.iter().for_each(|&input| self.forget(input));
        given_back
    }

    /// Lets the cores go over that can.
    pub(super) fn go_over(&mut self, now: Duration) {
        let Some(change) = &self.change else { return };
        let cores = self.cores.iter().zip(&change.over);
        let mut ready: Vec<bool> =
            cores.map(|(core, over)| *over || core.is_idle_at(now)).collect();
        // Where a stream leaves a core for one that is not ready, neither is it.
        let moves =
            |(&index, then): (&usize, &Then)| Some((self.streams[index].core, then.core()?));
        let moves: Vec<(usize, usize)> = change.then.iter().filter_map(moves).collect();
        while let Some(&(from, _)) = moves.iter().find(|&&(from, to)| ready[from] && !ready[to]) {
            ready[from] = false;
        }
        let at_last = |&core: &usize| ready[core] && !change.over[core];
        let at_last: Vec<usize> = (0..ready.len()).filter(at_last).collect();
        at_last.into_iter().for_each(|core| self.go_over_on(core));
        self.finish_change();
    }

    fn go_over_on(&mut self, core: usize) {
        let Some(change) = &mut self.change else { return };
        change.over[core] = true;
        let here = |index: &usize, then: &mut Then| {
            then.core().unwrap_or(self.streams[*index].core) == core
        };
        let here: Vec<(usize, Then)> = change.then.extract_if(.., here).collect();
        for (index, then) in here {
            match then {
                Then::Promise(service) => self.promise(index, service),
                Then::Serve { service, stream, models, .. } => {
                    self.go_on(index, core, service, stream, models);
                }
                Then::SetAside => {}
                Then::Leave => self.streams[index].gone = true,
            }
        }
    }

    fn promise(&mut self, index: usize, service: Service) {
        let of = &mut self.streams[index];
        of.set_aside = false;
        self.cores[of.core].serve(of.place, service);
    }

    /// A stream is another one, or on another core.
    fn go_on(
        &mut self,
        index: usize,
        core: usize,
        service: Service,
        stream: Stream,
        models: Vec<Subject>,
    ) {
        let of = &mut self.streams[index];
        of.answer_with(models);
        (of.gone, of.set_aside, of.asked) = (false, false, stream);
        if of.core == core {
            self.cores[core].serve(of.place, service);
            return;
        }
        let last_arrival = self.cores[of.core].last_arrival(of.place);
        of.before.push((of.core, of.place));
        (of.core, of.place) = (core, self.cores[core].add(service, last_arrival));
        self.on_core[core].push(index);
    }

    /// Where all cores have gone over, nothing is left of what was before.
    fn finish_change(&mut self) {
        let over = |change: &Change| change.over.iter().all(|&over| over);
        let Some(change) = self.change.take_if(|change| over(change)) else { return };
        let Some(served) = change.served else { return };
        self.served = served;
        for index in self.served.clone() {
            let to = self.streams[index].asked.degrade_to.as_deref();
            self.streams[index].degrade_to = to.and_then(|to| self.named(to));
        }
        self.forget_models();
    }
}

impl Dispatched {
    /// Whether an input cannot tell whether it is answered by this or by that.
    fn is_alike(&self, core: usize, stream: &Stream, models: &[Subject]) -> bool {
        let of = |stream: &Stream| (stream.period, stream.deadline, stream.jitter);
        let same = models.len() == self.models.len() && models.iter().all(|m| self.has(m.digest()));
        let asked = of(&self.asked) == of(stream) && self.asked.stages == stream.stages;
        !self.gone && same && asked && self.core == core
    }
}
