"""Cloud Map by DNS: dnspython asks the lab what boto3 and ECS registered there."""

from urllib.parse import urlsplit

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.resolver
import pytest
from conftest import until
from images import hello_image


class Names:
    """A stub resolver that asks the lab and nobody else."""

    def __init__(self, url):
        self.address, self.port = urlsplit(url).hostname, urlsplit(url).port
        self.resolver = dns.resolver.Resolver(configure=False)
        self.resolver.nameservers, self.resolver.port = [self.address], self.port
        self.resolver.lifetime = 20

    def ask(self, name, kind):
        return self.resolver.resolve(name, kind, search=False)

    def code(self, name, kind):
        answer = dns.query.udp(dns.message.make_query(name, kind), self.address, port=self.port, timeout=20)
        assert not answer.flags & dns.flags.RA, "it asks nobody else"
        return dns.rcode.to_text(answer.rcode())


def namespace(discovery, vpc, name):
    asked = discovery.create_private_dns_namespace(Name=name, Vpc=vpc)["OperationId"]
    return discovery.get_operation(OperationId=asked)["Operation"]["Targets"]["NAMESPACE"]


def test_a_service_s_tasks_are_found_by_name(amazon, hello_program):
    discovery, names = amazon.servicediscovery, Names(amazon.url)
    zone = namespace(discovery, amazon.subnets()[0]["VpcId"], "lab.local")
    web = discovery.create_service(
        Name="web", NamespaceId=zone, DnsConfig={"DnsRecords": [{"Type": "SRV", "TTL": 10}]},
        HealthCheckCustomConfig={"FailureThreshold": 1},
    )["Service"]  # fmt: skip
    amazon.ecr.create_repository(repositoryName="web")
    image = amazon.push("web", hello_image(hello_program, "1"), "1")
    container = {"portMappings": [{"containerPort": 80}]}
    registry = {"registryArn": web["Arn"], "containerName": "web", "containerPort": 80}
    amazon.service("web", image, container, desiredCount=2, serviceRegistries=[registry])

    def registered():
        found = discovery.list_instances(ServiceId=web["Id"])["Instances"]
        return {f"{of['Id']}.web.lab.local.": of["Attributes"] for of in found}

    expected = until(60, registered, lambda found: len(found) == 2)
    answer = names.ask("web.lab.local", "SRV")
    assert answer.rrset.ttl == 10
    assert {(str(of.target), of.port, of.priority, of.weight) for of in answer} == {
        (host, int(of["AWS_INSTANCE_PORT"]), 1, 1) for host, of in expected.items()
    }
    for host, of in expected.items():
        assert [str(address) for address in names.ask(host, "A")] == [of["AWS_INSTANCE_IPV4"]]

    # One that is unhealthy is left out, and its tasks go with the service.
    sick = sorted(expected)[0]
    discovery.update_instance_custom_health_status(
        ServiceId=web["Id"], InstanceId=sick.split(".")[0], Status="UNHEALTHY"
    )
    assert {str(of.target) for of in names.ask("web.lab.local", "SRV")} == set(expected) - {sick}
    amazon.ecs.update_service(service="web", desiredCount=0)
    until(60, registered, lambda found: not found)
    with pytest.raises(dns.resolver.NXDOMAIN):
        names.ask("web.lab.local", "SRV")


def test_routing_policies_and_names_that_are_not_the_lab_s(amazon):
    discovery, names = amazon.servicediscovery, Names(amazon.url)
    zone = namespace(discovery, amazon.subnets()[0]["VpcId"], "lab.local")
    for policy, most in [("MULTIVALUE", 8), ("WEIGHTED", 1)]:
        records = {"RoutingPolicy": policy, "DnsRecords": [{"Type": "A", "TTL": 60}]}
        made = discovery.create_service(Name=policy.lower(), NamespaceId=zone, DnsConfig=records)["Service"]
        for at in range(10):
            attributes = {"AWS_INSTANCE_IPV4": f"10.0.0.{at}"}
            discovery.register_instance(ServiceId=made["Id"], InstanceId=f"i{at}", Attributes=attributes)
        answers = [str(address) for address in names.ask(f"{policy}.lab.local", "A")]
        assert len(answers) == len(set(answers)) == most
        with pytest.raises(dns.resolver.NoAnswer):
            names.ask(f"{policy}.lab.local", "AAAA")
    codes = [names.code(name, "A") for name in ["none.lab.local", "lab.local", "example.com", "local"]]
    assert codes == ["NXDOMAIN", "NOERROR", "REFUSED", "REFUSED"]
