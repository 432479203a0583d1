-- Versions and decisions are never changed, history is only added to; `aliases` is what moves.
CREATE TABLE versions (
  name TEXT NOT NULL PRIMARY KEY,
  number INTEGER NOT NULL UNIQUE,
  digest TEXT NOT NULL,
  path TEXT NOT NULL,
  manifest TEXT NOT NULL,
  config TEXT NOT NULL,
  lineage TEXT NOT NULL,
  record TEXT NOT NULL,
  created TEXT NOT NULL
);

CREATE TABLE decisions (
  id INTEGER NOT NULL PRIMARY KEY,
  version TEXT NOT NULL REFERENCES versions (name),
  version_digest TEXT NOT NULL,
  verdict TEXT NOT NULL CHECK (verdict IN ('pass', 'fail', 'insufficient')),
  content TEXT NOT NULL,
  config_digest TEXT NOT NULL,
  digest TEXT NOT NULL,
  made TEXT NOT NULL
);

CREATE TABLE aliases (
  alias TEXT NOT NULL PRIMARY KEY CHECK (alias IN ('champion', 'challenger', 'previous')),
  version TEXT NOT NULL REFERENCES versions (name),
  rollout TEXT CHECK (rollout IN ('shadow', '5%', '25%'))
);

CREATE TABLE history (
  id INTEGER NOT NULL PRIMARY KEY,
  made TEXT NOT NULL,
  kind TEXT NOT NULL,
  version TEXT NOT NULL REFERENCES versions (name),
  rollout TEXT,
  state_before TEXT NOT NULL,
  state_after TEXT NOT NULL,
  decision INTEGER REFERENCES decisions (id),
  author TEXT NOT NULL,
  reason TEXT NOT NULL
);
