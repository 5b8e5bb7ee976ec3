//! Each rule of trust, kept and broken.

use leeway_contract::Digest;

use super::*;

struct World {
    trust: Trust,
    secret: SecretKey,
    stranger: SecretKey,
    memory: Memory,
}

fn world() -> World {
    let secret = SecretKey::generate().unwrap();
    let key = TrustedKey { name: "release".into(), key: secret.public(), expires: None };
    World {
        trust: Trust { keys: vec![key], ..Trust::default() },
        secret,
        stranger: SecretKey::generate().unwrap(),
        memory: Memory::default(),
    }
}

fn subject() -> Subject<'static> {
    Subject {
        digest: Digest::of(b"module"),
        certificate: Digest::of(b"certificate"),
        model: "m",
        version: "1.0",
    }
}

fn statement(counter: u64, signed_at: u64) -> Statement {
    let json = format!(
        r#"{{"format": 1, "digest": "{}", "certificate": "{}", "model": "m", "version": "1.0",
            "counter": {counter}, "signed_at": {signed_at}}}"#,
        Digest::of(b"module"),
        Digest::of(b"certificate")
    );
    serde_json::from_str(&json).unwrap()
}

fn signed(keys: &[&SecretKey], statement: Statement) -> Vec<u8> {
    let mut envelope = Envelope::new(statement);
    keys.iter().for_each(|key| envelope.sign(key));
    envelope.to_json().into_bytes()
}

impl World {
    fn check(&self, envelope: &[u8]) -> Result<Accepted, TrustError> {
        self.trust.check(&subject(), Some(envelope), &self.memory)
    }

    /// The reason in words why too few keys count.
    fn refused(&self, envelope: &[u8]) -> String {
        let error = self.check(envelope).unwrap_err();
        assert!(matches!(error, TrustError::Keys { .. }), "{error}");
        error.to_string()
    }
}

#[test]
fn what_a_trusted_key_has_signed_is_accepted() {
    let world = world();
    let accepted = world.check(&signed(&[&world.secret], statement(7, 1000))).unwrap();
    let signed_by = vec![world.secret.public().id()];
    assert_eq!(accepted, Accepted { counter: Some(7), signed_at: 1000, signed_by });
}

#[test]
fn unsigned_is_refused_unless_it_is_allowed() {
    let mut world = world();
    let check = |trust: &Trust| trust.check(&subject(), None, &Memory::default());
    assert_eq!(check(&world.trust), Err(TrustError::Unsigned));
    world.trust.allow_unsigned = true;
    assert_eq!(check(&world.trust), Ok(Accepted::default()));
    // A wrong signature is no missing one.
    let envelope = signed(&[&world.stranger], statement(1, 1));
    assert!(world.refused(&envelope).contains("stranger"));
}

#[test]
fn a_stranger_is_named_and_so_are_the_trusted() {
    let world = world();
    let reason = world.refused(&signed(&[&world.stranger], statement(1, 1)));
    for key in [&world.stranger, &world.secret] {
        assert!(reason.contains(&key.public().id().to_string()), "{reason}");
    }
}

#[test]
fn a_changed_statement_or_signature_is_wrong() {
    let world = world();
    let good = Envelope::parse(&signed(&[&world.secret], statement(1, 1))).unwrap();
    let mut changed = good.clone();
    changed.payload = Envelope::new(statement(2, 1)).payload;
    assert!(world.refused(changed.to_json().as_bytes()).contains("is wrong"));
    // Another's signature under a trusted key's name.
    let mut forged = Envelope::parse(&signed(&[&world.stranger], statement(1, 1))).unwrap();
    forged.signatures[0].0 = world.secret.public().id();
    assert!(world.refused(forged.to_json().as_bytes()).contains("is wrong"));
}

#[test]
fn a_signature_for_another_module_is_refused_by_the_claim_that_differs() {
    let world = world();
    let envelope = signed(&[&world.secret], statement(1, 1));
    let others = [
        ("module", Subject { digest: Digest::of(b"other"), ..subject() }),
        ("certificate", Subject { certificate: Digest::of(b"other"), ..subject() }),
        ("model", Subject { model: "n", ..subject() }),
        ("version", Subject { version: "1.1", ..subject() }),
    ];
    for (wanted, subject) in others {
        let error = world.trust.check(&subject, Some(&envelope), &world.memory).unwrap_err();
        assert!(
            matches!(error, TrustError::OtherSubject { claim, .. } if claim == wanted),
            "{error}"
        );
    }
}

#[test]
fn keys_rotate_and_expire_by_what_was_signed_and_never_by_the_clock() {
    let mut world = world();
    let next = SecretKey::generate().unwrap();
    world.trust.keys[0].expires = Some(2000);
    world.trust.keys.push(TrustedKey { name: "next".into(), key: next.public(), expires: None });
    let old = |signed_at| signed(&[&world.secret], statement(1, signed_at));
    world.check(&old(1999)).unwrap();
    // It says itself that the key had expired.
    assert!(world.refused(&old(2000)).contains("expired at 2000, it is 2000"));
    // Backdated, on a device that has seen a later signature by the next key.
    world.memory.newest_signature =
        world.check(&signed(&[&next], statement(1, 2500))).unwrap().signed_at;
    assert!(world.refused(&old(1999)).contains("it is 2500 or later"));
}

#[test]
fn revoked_keys_and_modules_are_refused() {
    let mut world = world();
    let envelope = signed(&[&world.secret], statement(1, 1));
    world.trust.revoked_keys.insert(world.secret.public().id());
    assert!(world.refused(&envelope).contains("revoked"));
    world.trust.revoked_keys.clear();
    world.trust.revoked_modules.insert(subject().digest);
    assert_eq!(world.check(&envelope), Err(TrustError::RevokedModule(subject().digest)));
}

#[test]
fn several_keys_can_be_wanted_and_one_counts_once() {
    let mut world = world();
    world.trust.threshold = 2;
    let both = signed(&[&world.secret, &world.stranger], statement(1, 1));
    assert!(world.refused(&both).starts_with("2 trusted key(s) must have signed, seen 1"));
    let key = world.stranger.public();
    world.trust.keys.push(TrustedKey { name: "second".into(), key, expires: None });
    world.check(&both).unwrap();
    let mut twice = Envelope::parse(&signed(&[&world.secret], statement(1, 1))).unwrap();
    twice.signatures.push(twice.signatures[0]);
    world.refused(twice.to_json().as_bytes());
}

#[test]
fn an_older_release_does_not_come_back_unless_an_operator_says_so() {
    let mut world = world();
    world.memory.highest_counter = 7;
    let old = signed(&[&world.secret], statement(6, 1));
    let older = TrustError::Older { model: "m".into(), highest: 7, seen: 6 };
    assert_eq!(world.check(&old), Err(older));
    world.check(&signed(&[&world.secret], statement(7, 1))).unwrap();
    world.memory.allow_older = true;
    world.check(&old).unwrap();
}

#[test]
fn keys_survive_their_files() {
    let key = SecretKey::generate().unwrap();
    let again = SecretKey::from_pem(&key.to_pem()).unwrap();
    assert_eq!(again.public(), key.public());
    assert_eq!(PublicKey::from_pem(&key.public().to_pem()).unwrap(), key.public());
    // By RFC 8410, section 10.3.
    let known = "-----BEGIN PRIVATE KEY-----\n\
                 MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                 -----END PRIVATE KEY-----\n";
    let public = "-----BEGIN PUBLIC KEY-----\n\
                  MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                  -----END PUBLIC KEY-----\n";
    let key = SecretKey::from_pem(known).unwrap();
    assert_eq!((key.to_pem(), key.public().to_pem()), (known.into(), public.into()));
    assert!(matches!(PublicKey::from_pem(known), Err(KeyError::Public(_))));
}

#[test]
fn what_is_no_envelope_is_an_error() {
    let good = signed(&[&world().secret], statement(1, 1));
    for end in 0..good.len() {
        assert!(Envelope::parse(&good[..end]).is_err());
    }
    let other = String::from_utf8(good).unwrap().replace("leeway.release", "leeway.other");
    let error = Envelope::parse(other.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("vnd.leeway.other") && error.contains("vnd.leeway.release"), "{error}");
}

#[test]
fn signatures_of_one_statement_are_put_together_and_the_newest_release_is_first() {
    let mut world = world();
    let second = SecretKey::generate().unwrap();
    let key = TrustedKey { name: "second".into(), key: second.public(), expires: None };
    world.trust.keys.push(key);
    world.trust.threshold = 2;
    let one = |key: &SecretKey, counter| {
        Envelope::parse(&signed(&[key], statement(counter, 100))).unwrap()
    };
    let apart = [one(&world.secret, 1), one(&world.stranger, 7), one(&second, 1), one(&second, 1)];
    let merged = statement::merge(apart);
    assert_eq!(merged.iter().map(|e| e.statement.counter).collect::<Vec<_>>(), [7, 1]);
    assert_eq!(merged[1].key_ids().count(), 2);
    world.check(merged[1].to_json().as_bytes()).unwrap();
}
