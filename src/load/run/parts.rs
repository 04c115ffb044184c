//! What a run is put together from before anything is sent.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use super::Run;
use crate::{
    http::{dial::Dialer, request::Literals, tls::TlsError},
    load::{
        feeds::Takes, network::Network, perform::Transport, pool::Connector, probing::Probers, stop::Stop, user::Shared,
    },
    model::{
        clock,
        scenario::{Connections, Group},
    },
};

impl Run {
    /// What is read from files before anything is sent.
    pub(super) fn prepare(&self) -> Result<Dialer, TlsError> {
        let (scenario, policy) = (&self.request.scenario, &self.request.policy);
        let dialer = Dialer::new(&scenario.target, policy.clone())?;
        let probers = Probers::new(scenario, policy)?;
        self.tls.replace(dialer.tls().into_iter().chain(probers.tls()).collect());
        self.probers.replace(probers);
        Ok(dialer)
    }

    /// What the users of each group share, over the network that the scenario describes.
    pub(super) fn groups(&self, dialer: &Dialer) -> Vec<Rc<Shared>> {
        let scenario = &self.request.scenario;
        let network = scenario.network.map(|spec| Rc::new(Network::new(spec, scenario.seed)));
        let of = |group: &Arc<Group>| {
            let line = dialer.another().over(scenario.network);
            let shared = self.shared(group, self.stop.clone(), group.load.connections, line);
            Rc::new(Shared { network: network.clone(), ..shared })
        };
        scenario.groups.iter().map(of).collect()
    }

    /// What the users share; `stop` is the run's, or one of the hooks' own, which no end of the load cuts.
    pub(super) fn shared(&self, group: &Arc<Group>, stop: Stop, connections: Connections, dialer: Dialer) -> Shared {
        let scenario = &self.request.scenario;
        Shared {
            scenario: scenario.clone(),
            group: group.clone(),
            constants: scenario.constants.clone().into(),
            literals: Literals::default(),
            transport: Transport::Net(Connector::new(dialer, connections, scenario.target.http.reuse)),
            probers: self.probers.borrow().clone(),
            network: None,
            samples: self.request.samples.clone(),
            gate: self.request.gate.clone(),
            recorder: self.recorder.clone(),
            plan: stop.clone(),
            stop,
            clock: self.request.clock.clone(),
            redactor: self.request.redactor.clone(),
            run_id: self.request.run_id.clone(),
            inherited: RefCell::default(),
            started: Cell::new(clock::mono()),
            count: self.count.clone(),
            metrics: self.metrics.clone(),
            takes: Takes::of(&self.feeds, group),
        }
    }
}
