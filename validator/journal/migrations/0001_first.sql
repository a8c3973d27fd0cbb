-- What finalised blocks said, and how far we read. Everything else about the chain is a fold over `events`.
CREATE TABLE events (
    block       INTEGER NOT NULL,
    log_index   INTEGER NOT NULL,
    transaction_hash BLOB NOT NULL,
    contract    TEXT NOT NULL,
    name        TEXT NOT NULL,
    args        BLOB NOT NULL,
    PRIMARY KEY (block, log_index)
) WITHOUT ROWID;

-- Scanned to here, inclusive. A few old ones are kept: after a reorg the newest that still stands is where to go on from.
CREATE TABLE checkpoints (
    number      INTEGER PRIMARY KEY,
    hash        BLOB NOT NULL,
    timestamp   INTEGER NOT NULL
);

-- Our own steps in a round. `block` is the checkpoint they were taken at: a rollback below it undoes them.
CREATE TABLE steps (
    round       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    step        TEXT NOT NULL,
    block       INTEGER NOT NULL,
    data        BLOB NOT NULL,
    PRIMARY KEY (round, attempt, step)
) WITHOUT ROWID;

-- The one DAO that this journal is about.
CREATE TABLE about (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    chain_id    INTEGER NOT NULL,
    contract    TEXT NOT NULL
);

-- Fetching, by content and the size that was claimed for it: two contributors may claim different sizes for one digest, and one
-- of them lies. It survives a reorg, because a digest means the same bytes on every branch.
CREATE TABLE content (
    digest      BLOB NOT NULL,
    codec       INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('fetched', 'failed')),
    tries       INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    retry_at    REAL NOT NULL,
    PRIMARY KEY (digest, codec, size)
) WITHOUT ROWID;

-- Every transaction, written before it is sent. One intent keeps one nonce for ever; replacements add attempts at that nonce.
CREATE TABLE intents (
    id          INTEGER PRIMARY KEY,
    chain_id    INTEGER NOT NULL,
    sender      TEXT NOT NULL,
    key         TEXT NOT NULL,
    nonce       INTEGER NOT NULL,
    body        BLOB NOT NULL,
    outcome     TEXT CHECK (outcome IN ('mined', 'reverted', 'displaced')),
    transaction_hash BLOB,
    block       INTEGER
);
-- No key is under way twice or again once mined, and no nonce is promised to two intents.
CREATE UNIQUE INDEX intents_by_key ON intents (chain_id, sender, key) WHERE outcome IS NULL OR outcome = 'mined';
CREATE UNIQUE INDEX intents_by_nonce ON intents (chain_id, sender, nonce) WHERE outcome IS NULL;
