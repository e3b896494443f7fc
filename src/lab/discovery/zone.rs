//! What the names of DNS namespaces hold, as Route 53 would say it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::Value;

use super::{DiscoveryState, Instance, Namespace, NamespaceType, Service};

/// Of the multivalue routing policy.
const MOST_VALUES: usize = 8;
/// Seconds for which a zone's SOA record, and that there is no such name, may be kept.
pub(super) const SOA_TTL: i64 = 15;

pub(super) struct Found {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    /// Of the zone; goes with an answer that is none.
    pub soa: Option<Record>,
}

/// What a name holds. Names outside of the namespaces are none of the lab's business.
pub(super) fn look_up(discovery: &DiscoveryState, query: &Query) -> Found {
    let zones = discovery.namespaces.iter().filter(|namespace| namespace.kind != NamespaceType::Http);
    let around = zones.filter_map(|namespace| Some((name(&namespace.name)?, namespace)));
    let around = around.filter(|(zone, _)| zone.zone_of(&query.name) && query.query_class == DNSClass::IN);
    let Some((zone, namespace)) = around.max_by_key(|(zone, _)| zone.num_labels()) else {
        return Found { code: ResponseCode::Refused, answers: Vec::new(), soa: None };
    };
    let soa = soa(&zone, namespace);
    let (mut exists, mut answers) = (query.name == zone, Vec::new());
    if exists && asks(query, RecordType::SOA) {
        answers.extend(soa.clone());
    }
    // Two VPCs may have a namespace of the same name.
    let same = |id: &str| discovery.namespaces.iter().any(|of| of.id == id && of.name == namespace.name);
    let services = discovery.services.iter().filter(|service| same(&service.namespace_id));
    // A name is there as long as an instance has records of it.
    for service in services.filter(|service| service.dns_config.is_some() && !service.instances.is_empty()) {
        let Some(own) = name(&format!("{}.{}", service.name, namespace.name)) else { continue };
        exists |= query.name.zone_of(&own);
        if query.name == own {
            answers.extend(of_service(service, namespace, query));
        } else if own.zone_of(&query.name) && ttl(service, "SRV").is_some() {
            let asked =
                service.instances.iter().filter(|of| host(of, service, namespace).as_ref() == Some(&query.name));
            for instance in asked {
                exists = true;
                answers.extend(addresses(service, instance, "SRV", query));
            }
        }
    }
    let code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
    Found { code, soa: soa.filter(|_| answers.is_empty()), answers }
}

fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// What an SRV record calls the host of an instance.
fn host(instance: &Instance, service: &Service, namespace: &Namespace) -> Option<Name> {
    name(&format!("{}.{}.{}", instance.id, service.name, namespace.name))
}

fn asks(query: &Query, kind: RecordType) -> bool {
    query.query_type == kind || query.query_type == RecordType::ANY
}

/// Of a service's records of this type, if it has such.
fn ttl(service: &Service, kind: &str) -> Option<u32> {
    let records = service.dns_config.as_ref()?["DnsRecords"].as_array()?;
    let record = records.iter().find(|record| record["Type"] == kind)?;
    u32::try_from(record["TTL"].as_u64()?).ok()
}

fn of_service(service: &Service, namespace: &Namespace, query: &Query) -> Vec<Record> {
    let record = |kind, data| Some(Record::from_rdata(query.name.clone(), ttl(service, kind)?, data));
    let mut records = Vec::new();
    for instance in chosen(service) {
        let attribute = |key: &str| instance.attributes.get(key);
        records.extend(addresses(service, instance, "", query));
        if asks(query, RecordType::SRV) {
            let port = attribute("AWS_INSTANCE_PORT").and_then(|port| port.parse().ok());
            let srv = port.zip(host(instance, service, namespace)).map(|(port, host)| SRV::new(1, 1, port, host));
            records.extend(srv.and_then(|srv| record("SRV", RData::SRV(srv))));
        }
        // who asks for an address goes on from there
        if [RecordType::A, RecordType::AAAA].contains(&query.query_type) || asks(query, RecordType::CNAME) {
            let to = attribute("AWS_INSTANCE_CNAME").and_then(|to| name(to));
            records.extend(to.and_then(|to| record("CNAME", RData::CNAME(CNAME(to)))));
        }
    }
    records
}

/// The addresses of an instance: as records of their own types, or with the TTL of those of another.
fn addresses(service: &Service, instance: &Instance, of: &str, query: &Query) -> Vec<Record> {
    fn read<T: FromStr>(instance: &Instance, key: &str) -> Option<T> {
        instance.attributes.get(key)?.parse().ok()
    }
    let record = |kind, data| {
        let ttl = ttl(service, if of.is_empty() { kind } else { of })?;
        Some(Record::from_rdata(query.name.clone(), ttl, data))
    };
    let mut records = Vec::new();
    if asks(query, RecordType::A) {
        let address = read::<Ipv4Addr>(instance, "AWS_INSTANCE_IPV4");
        records.extend(address.and_then(|address| record("A", RData::A(A(address)))));
    }
    if asks(query, RecordType::AAAA) {
        let address = read::<Ipv6Addr>(instance, "AWS_INSTANCE_IPV6");
        records.extend(address.and_then(|address| record("AAAA", RData::AAAA(AAAA(address)))));
    }
    records
}

/// The instances that the routing policy answers with, each time others: where none is healthy, as if all were.
fn chosen(service: &Service) -> Vec<&Instance> {
    let checked = service.health_check_custom_config.is_some() || service.health_check_config.is_some();
    let mut all: Vec<&Instance> = service.instances.iter().collect();
    if checked && all.iter().any(|instance| instance.healthy) {
        all.retain(|instance| instance.healthy);
    }
    let random = SystemRandom::new();
    all.sort_by_cached_key(|_| {
        let mut bytes = [0; 8];
        let _ = random.fill(&mut bytes);
        bytes
    });
    let policy = service.dns_config.as_ref().and_then(|config| config.get("RoutingPolicy")).and_then(Value::as_str);
    all.truncate(if policy == Some("WEIGHTED") { 1 } else { MOST_VALUES });
    all
}

/// As Route 53 has it for the zones that nobody delegates to.
fn soa(zone: &Name, namespace: &Namespace) -> Option<Record> {
    let (server, master) = (name("ns-1536.awsdns-00.co.uk")?, name("awsdns-hostmaster.amazon.com")?);
    let ttl = u32::try_from(namespace.soa_ttl.unwrap_or(SOA_TTL)).ok()?;
    let data = SOA::new(server, master, 1, 7200, 900, 1_209_600, 86_400);
    Some(Record::from_rdata(zone.clone(), ttl, RData::SOA(data)))
}
