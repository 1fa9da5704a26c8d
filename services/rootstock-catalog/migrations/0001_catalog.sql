-- The catalog: images and their versions, the blobs they are made of, the remotes they come from,
-- the work that is to be done for them, and the log of every change.
--
-- Statuses are AMS's codes (rootstock_model::Status). Digests are 32 raw bytes. Lengths are bytes.

CREATE TABLE settings (
    key text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE remotes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    url text NOT NULL,
    protocol text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('mirror', 'on-demand')),
    include text[] NOT NULL,
    exclude text[] NOT NULL,
    root_preference text[] NOT NULL,
    keep_versions integer NOT NULL CHECK (keep_versions >= 0), -- 0: images.default_keep_versions
    update_interval_ms bigint CHECK (update_interval_ms > 0),  -- null: images.update_interval
    ca_pem text NOT NULL,
    insecure boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- How polling goes. Apart from remotes, so that a poll that finds nothing new changes nothing else.
CREATE TABLE remote_polls (
    remote_id bigint PRIMARY KEY REFERENCES remotes ON DELETE CASCADE,
    last_attempt_at timestamptz,
    last_success_at timestamptz,
    last_error text NOT NULL DEFAULT '',
    index_checked_at timestamptz
);

-- What the last recorded snapshot was made of. Gone when a rule changes: the next poll then starts anew.
CREATE TABLE remote_documents (
    remote_id bigint NOT NULL REFERENCES remotes ON DELETE CASCADE,
    path text NOT NULL,
    etag text NOT NULL,
    last_modified text NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    PRIMARY KEY (remote_id, path)
);

CREATE TABLE left_out (
    remote_id bigint NOT NULL REFERENCES remotes ON DELETE CASCADE,
    position integer NOT NULL,
    product text NOT NULL,
    serial text NOT NULL,
    item text NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (remote_id, position)
);

CREATE TABLE sync_runs (
    id text PRIMARY KEY,
    remote_id bigint NOT NULL REFERENCES remotes ON DELETE CASCADE,
    plan_only boolean NOT NULL,
    force boolean NOT NULL,
    -- The claim of the poll that carries it out; null until there is one.
    work_epoch bigint,
    state smallint NOT NULL, -- rootstock.catalog.v1.SyncRunState
    error text NOT NULL DEFAULT '',
    plan bytea,              -- rootstock.catalog.v1.Plan
    requested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sync_runs_by_remote ON sync_runs (remote_id, requested_at);

CREATE TABLE images (
    id text PRIMARY KEY,
    name text NOT NULL,
    type text NOT NULL CHECK (type IN ('container', 'virtual-machine')),
    architecture text NOT NULL,
    status smallint NOT NULL, -- that of its best version
    is_default boolean NOT NULL DEFAULT false,
    immutable boolean NOT NULL,
    public boolean NOT NULL,
    cached boolean NOT NULL DEFAULT false,
    remote_id bigint REFERENCES remotes,
    product text NOT NULL,
    properties jsonb NOT NULL,
    wanted_aliases text[] NOT NULL, -- its own by right; taken when it has something to show
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    next_version integer NOT NULL DEFAULT 0,
    -- Of its versions; kept by whoever changes them.
    version_count integer NOT NULL DEFAULT 0, -- those that are not deleted
    newest_version integer                    -- the newest active one's number
);
CREATE UNIQUE INDEX images_by_name ON images (name, type) WHERE status <> 4;
CREATE UNIQUE INDEX images_one_default ON images (type) WHERE is_default;
CREATE INDEX images_by_remote ON images (remote_id) WHERE status <> 4;

CREATE TABLE versions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id text NOT NULL REFERENCES images ON DELETE CASCADE,
    number integer NOT NULL,
    serial text NOT NULL,
    label text NOT NULL,
    status smallint NOT NULL,
    error_message text NOT NULL DEFAULT '',
    fingerprint bytea CHECK (length(fingerprint) = 32), -- null until it is known
    size_bytes bigint NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz CHECK ((status = 4) = (deleted_at IS NOT NULL)),
    UNIQUE (image_id, number)
);
CREATE INDEX versions_by_fingerprint ON versions (fingerprint) WHERE status <> 4;

CREATE TABLE artifacts (
    version_id bigint NOT NULL REFERENCES versions ON DELETE CASCADE,
    position smallint NOT NULL, -- 0: metadata or the unified file, 1: root
    ftype text NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0), -- as claimed; the blob's is the truth
    path text NOT NULL,
    PRIMARY KEY (version_id, position)
);
CREATE INDEX artifacts_by_blob ON artifacts (sha256);

-- A row says: the object is in the store, verified. Blob first, row second.
CREATE TABLE blobs (
    sha256 bytea PRIMARY KEY CHECK (length(sha256) = 32),
    size_bytes bigint NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);

-- The SHA-256 of two blobs, one after the other. Facts: rows are never changed.
CREATE TABLE combinations (
    metadata_sha256 bytea NOT NULL,
    root_sha256 bytea NOT NULL,
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
    PRIMARY KEY (metadata_sha256, root_sha256)
);

CREATE TABLE aliases (
    name text NOT NULL,
    type text NOT NULL,
    architecture text NOT NULL,
    image_id text NOT NULL REFERENCES images ON DELETE CASCADE,
    PRIMARY KEY (name, type, architecture)
);
CREATE INDEX aliases_by_image ON aliases (image_id);

-- Images as they are shown.
CREATE VIEW image_details AS
SELECT i.id, i.name, i.type, i.architecture, i.status, i.is_default, i.immutable, i.public, i.cached, i.remote_id,
    i.product, i.properties, i.expires_at, i.created_at, i.version_count, r.name AS remote, v.fingerprint,
    ARRAY(SELECT a.name FROM aliases a WHERE a.image_id = i.id ORDER BY a.name) AS aliases
FROM images i
LEFT JOIN remotes r ON r.id = i.remote_id
LEFT JOIN versions v ON v.image_id = i.id AND v.number = i.newest_version;

-- What workers do. `due_at` is when it may be claimed: a claim moves it to the lease's end, a heartbeat
-- further on; a crashed worker's work falls due by itself. Null: not before something else happens.
CREATE TABLE work (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind smallint NOT NULL,    -- rootstock.sync.v1.WorkKind
    subject text NOT NULL,     -- remote id, run id, blob, pair of blobs
    due_at timestamptz,
    worker text,               -- who has it; null when nobody
    epoch bigint NOT NULL DEFAULT 0,
    held boolean NOT NULL DEFAULT false, -- waits for other work; else a null due_at means it gave up
    failed_attempts integer NOT NULL DEFAULT 0,
    last_error text NOT NULL DEFAULT '',
    done_bytes bigint NOT NULL DEFAULT 0,
    journal bytea,
    upload_id text NOT NULL DEFAULT '',
    traceparent text NOT NULL DEFAULT '',
    UNIQUE (kind, subject)
);
CREATE INDEX work_due ON work (kind, due_at) WHERE due_at IS NOT NULL;

-- The one row that every transaction locks that changes what the catalog promises: one writer at a
-- time, so that the order of revisions is the order of commits.
CREATE TABLE catalog_revision (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    revision bigint NOT NULL
);
-- The empty catalog is a state too, and a watcher is told its revision: 0 would say none.
INSERT INTO catalog_revision (revision) VALUES (1);

CREATE TABLE changes (
    revision bigint PRIMARY KEY,
    transaction_revision bigint NOT NULL, -- the last revision of its transaction
    changed_at timestamptz NOT NULL,
    payload bytea NOT NULL                -- rootstock.catalog.v1.Change
);

-- The store is swept of abandoned uploads from the first start on.
INSERT INTO work (kind, subject, due_at) VALUES (4, 'store', now());
