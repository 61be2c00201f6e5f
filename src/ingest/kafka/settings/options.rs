//! librdkafka's options that are ours, those that are refused, and those whose values are secrets. Tables only.

/// Set unless the person says otherwise.
pub(super) const PREFERRED: &[(&str, &str)] = &[
    ("client.id", "phiwatch"),
    ("socket.keepalive.enable", "true"),
    ("log.connection.close", "false"),
    ("reconnect.backoff.max.ms", "5000"),
    // The default of a second would make a full queue stutter, since ours is small.
    ("fetch.queue.backoff.ms", "10"),
];

/// What the promise of one road rests on: no offset is stored but by us, and no record is skipped without a word.
pub(super) const OURS: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("check.crcs", "true"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
    ("queued.max.messages.kbytes", "16384"),
    ("allow.auto.create.topics", "false"),
];

const OWNED: &str = "phiwatch sets it itself";

/// Options that are ours, or that run foreign code or switch protection off; a name that ends with `*` is a beginning.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", "it is brokers"),
    ("metadata.broker.list", "it is brokers"),
    ("group.id", "it is group"),
    ("group.*", "phiwatch reads all partitions itself and joins no group"),
    ("partition.assignment.strategy", "phiwatch reads all partitions itself and joins no group"),
    ("enable.auto.commit", OWNED),
    ("auto.commit.*", OWNED),
    ("enable.auto.offset.store", OWNED),
    ("offset.store.*", OWNED),
    ("auto.offset.reset", "it is start"),
    ("check.crcs", OWNED),
    ("isolation.level", OWNED),
    ("enable.partition.eof", OWNED),
    ("queued.max.messages.kbytes", OWNED),
    ("allow.auto.create.topics", OWNED),
    ("log.queue", OWNED),
    ("transactional.id", "phiwatch reads only"),
    ("test.mock.*", "it replaces the brokers by a mock"),
    ("plugin.library.paths", "it loads foreign code"),
    ("ssl.engine.*", "it loads foreign code"),
    ("ssl.providers", "it loads foreign code"),
    ("sasl.kerberos.kinit.cmd", "it runs a command"),
    (
        "enable.ssl.certificate.verification",
        "the broker's certificate is always verified; name your CA in ssl.ca.location",
    ),
];

/// Why an option cannot be set, where it cannot.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    let is_meant = |refused: &str| match refused.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == refused,
    };
    REFUSED.iter().find(|(refused, _)| is_meant(refused)).map(|(_, why)| *why)
}

/// Whether the value of an option is a secret, which does not belong into a settings file.
pub(super) fn is_secret(name: &str) -> bool {
    const ENDS: [&str; 5] = ["password", "secret", "ssl.key.pem", "private.key.pem", "passphrase"];
    ENDS.iter().any(|end| name.ends_with(end))
}
