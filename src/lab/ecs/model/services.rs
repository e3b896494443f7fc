//! All services, in the order in which they were made: found by name without looking at the others.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Deref, Index, IndexMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Service, ServiceDeployment};

/// A service's cluster and name.
pub type ServiceKey = (String, String);

/// Reads as a slice. A service that was borrowed to be changed is looked at in the scheduler's next step, and saved.
/// Its cluster and name never change.
#[derive(Debug, Default, Clone)]
pub struct Services {
    list: Vec<Service>,
    /// By cluster and name.
    places: HashMap<String, HashMap<String, usize>>,
    touched: BTreeSet<ServiceKey>,
    unsaved: BTreeSet<ServiceKey>,
}

impl Deref for Services {
    type Target = [Service];

    fn deref(&self) -> &Self::Target {
        &self.list
    }
}

impl Index<usize> for Services {
    type Output = Service;

    fn index(&self, at: usize) -> &Service {
        &self.list[at]
    }
}

impl IndexMut<usize> for Services {
    fn index_mut(&mut self, at: usize) -> &mut Service {
        let service = &mut self.list[at];
        self.touched.insert(service.key());
        self.unsaved.insert(service.key());
        service
    }
}

impl Services {
    pub fn place(&self, cluster: &str, name: &str) -> Option<usize> {
        self.places.get(cluster)?.get(name).copied()
    }

    pub fn find(&self, cluster: &str, name: &str) -> Option<&Service> {
        self.place(cluster, name).map(|at| &self.list[at])
    }

    pub fn find_mut(&mut self, cluster: &str, name: &str) -> Option<&mut Service> {
        let at = self.place(cluster, name)?;
        Some(&mut self[at])
    }

    /// A service deployment by its ARN.
    pub fn deployment_mut(&mut self, arn: &str) -> Option<&mut ServiceDeployment> {
        let at = self.list.iter().position(|service| service.service_deployments.iter().any(|of| of.arn == arn))?;
        self[at].service_deployments.iter_mut().find(|of| of.arn == arn)
    }

    /// Adds a service; it takes the place of one of the same name.
    pub fn put(&mut self, service: Service) {
        if let Some(at) = self.place(&service.cluster, &service.name) {
            self[at] = service;
            return;
        }
        self.touched.insert(service.key());
        self.unsaved.insert(service.key());
        self.places.entry(service.cluster.clone()).or_default().insert(service.name.clone(), self.list.len());
        self.list.push(service);
    }

    /// Has the scheduler look at a service again.
    pub fn touch(&mut self, cluster: &str, name: &str) {
        if self.place(cluster, name).is_some() {
            self.touched.insert((cluster.to_owned(), name.to_owned()));
        }
    }

    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The places of the services to look at, in their order.
    pub fn take_touched(&mut self) -> Vec<usize> {
        let touched = std::mem::take(&mut self.touched);
        let mut places: Vec<usize> = touched.iter().filter_map(|(cluster, name)| self.place(cluster, name)).collect();
        places.sort_unstable();
        places
    }

    /// Lends a service to the scheduler, which gives it back by [`Services::put_back`]: a blank one is in its place.
    pub fn lend(&mut self, at: usize) -> Service {
        std::mem::take(&mut self.list[at])
    }

    pub fn put_back(&mut self, at: usize, service: Service, changed: bool) {
        if changed {
            self.unsaved.insert(service.key());
        }
        self.list[at] = service;
    }

    pub fn take_unsaved(&mut self) -> BTreeSet<ServiceKey> {
        std::mem::take(&mut self.unsaved)
    }
}

impl Serialize for Services {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Services {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Vec::<Service>::deserialize(deserializer)?;
        let mut services = Services { touched: list.iter().map(Service::key).collect(), ..Services::default() };
        for (at, service) in list.iter().enumerate() {
            services.places.entry(service.cluster.clone()).or_default().insert(service.name.clone(), at);
        }
        Ok(Services { list, ..services })
    }
}
