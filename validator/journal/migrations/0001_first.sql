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

CREATE TABLE checkpoint (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    number      INTEGER NOT NULL,
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

-- Fetching, by content: it survives a reorg, because a digest means the same bytes on every branch.
CREATE TABLE content (
    digest      BLOB NOT NULL,
    codec       INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('fetched', 'failed')),
    tries       INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    retry_at    REAL NOT NULL,
    PRIMARY KEY (digest, codec)
) WITHOUT ROWID;

-- Every transaction, written before it is sent. One intent has one nonce for ever; replacements change fees and hash only.
CREATE TABLE transactions (
    intent      TEXT PRIMARY KEY,
    sender      TEXT NOT NULL,
    nonce       INTEGER NOT NULL,
    body        BLOB NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('prepared', 'mined', 'failed')),
    UNIQUE (sender, nonce)
) WITHOUT ROWID;
