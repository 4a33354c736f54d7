-- pg_trgm serves the fuzzy search for models; whoever may create tables here may create it (PostgreSQL 13 and later).
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE providers (
    id uuid NOT NULL PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    api_base text,
    enabled boolean NOT NULL DEFAULT true,
    metadata json NOT NULL DEFAULT '{}',
    credentials bytea,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE models (
    id uuid NOT NULL PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    litellm_provider text COLLATE "C",
    provider_id uuid REFERENCES providers (id),
    mode text,
    max_tokens bigint,
    max_input_tokens bigint,
    max_output_tokens bigint,
    supports_assistant_prefill boolean NOT NULL DEFAULT false,
    supports_audio_input boolean NOT NULL DEFAULT false,
    supports_audio_output boolean NOT NULL DEFAULT false,
    supports_computer_use boolean NOT NULL DEFAULT false,
    supports_function_calling boolean NOT NULL DEFAULT false,
    supports_image_input boolean NOT NULL DEFAULT false,
    supports_native_streaming boolean NOT NULL DEFAULT false,
    supports_parallel_function_calling boolean NOT NULL DEFAULT false,
    supports_pdf_input boolean NOT NULL DEFAULT false,
    supports_prompt_caching boolean NOT NULL DEFAULT false,
    supports_reasoning boolean NOT NULL DEFAULT false,
    supports_response_schema boolean NOT NULL DEFAULT false,
    supports_system_messages boolean NOT NULL DEFAULT false,
    supports_tool_choice boolean NOT NULL DEFAULT false,
    supports_url_context boolean NOT NULL DEFAULT false,
    supports_video_input boolean NOT NULL DEFAULT false,
    supports_vision boolean NOT NULL DEFAULT false,
    supports_web_search boolean NOT NULL DEFAULT false,
    deprecation_date text,
    source text,
    origin text NOT NULL CHECK (origin IN ('catalog', 'custom')),
    vanished_at timestamptz,
    metadata json NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- siglen: longer signatures than the default let the nearest names be found without visiting most of them.
CREATE INDEX models_name_trigrams ON models USING gist (name gist_trgm_ops (siglen = 64));
CREATE INDEX models_litellm_provider_name ON models (litellm_provider, name);
CREATE INDEX models_provider_id_name ON models (provider_id, name);

-- The literal is how the price's source wrote it.
CREATE TABLE price_components (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id uuid NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    direction text NOT NULL,
    modality text NOT NULL,
    kind text NOT NULL,
    unit text NOT NULL,
    per bigint NOT NULL,
    price numeric NOT NULL,
    literal text NOT NULL,
    currency text NOT NULL,
    combine text NOT NULL,
    condition json NOT NULL DEFAULT '{}',
    source_field text NOT NULL,
    valid_from timestamptz,
    valid_until timestamptz,
    version integer NOT NULL,
    ended_version integer NOT NULL DEFAULT 0,
    origin text NOT NULL CHECK (origin IN ('catalog', 'operator'))
);

CREATE INDEX price_components_model_id ON price_components (model_id);

CREATE TABLE model_aliases (
    id uuid NOT NULL PRIMARY KEY,
    alias text COLLATE "C" NOT NULL UNIQUE,
    model_id uuid NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE INDEX model_aliases_model_id ON model_aliases (model_id, alias);
CREATE INDEX model_aliases_enabled ON model_aliases (alias) WHERE enabled;

CREATE TABLE model_alias_tags (
    model_alias_id uuid NOT NULL REFERENCES model_aliases (id) ON DELETE CASCADE,
    key text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (model_alias_id, key)
);

CREATE TABLE api_keys (
    id uuid NOT NULL PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    key_hash text COLLATE "C" NOT NULL UNIQUE,
    allowed_models json NOT NULL DEFAULT '[]',
    rate_limit_per_minute bigint,
    monthly_budget_usd numeric(27, 12),
    enabled boolean NOT NULL DEFAULT true,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE INDEX api_keys_name ON api_keys (name, id);

CREATE TABLE api_key_metadata (
    api_key_id uuid NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    type text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (api_key_id, type, key)
);

-- No foreign keys here: what was used stays recorded when its key or model is deleted.
CREATE TABLE usage_records (
    id uuid NOT NULL PRIMARY KEY,
    api_key_id uuid NOT NULL,
    model_id uuid,
    provider_id uuid,
    request_timestamp timestamptz NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    total_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_usd numeric(20, 12),
    price_version integer,
    request_id text,
    model_name text,
    endpoint text,
    response_time_ms integer,
    status_code smallint,
    error_message text,
    request_metadata json NOT NULL DEFAULT '{}',
    response_metadata json NOT NULL DEFAULT '{}',
    billable json,
    pricing_context json NOT NULL DEFAULT '{}'
);

CREATE UNIQUE INDEX usage_records_request ON usage_records (api_key_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX usage_records_api_key ON usage_records (api_key_id, request_timestamp, id);
CREATE INDEX usage_records_unpriced ON usage_records (id) WHERE cost_usd IS NULL;
CREATE INDEX usage_records_model ON usage_records (model_id, request_timestamp, id);

CREATE TABLE monthly_usage_summaries (
    api_key_id uuid NOT NULL,
    year integer NOT NULL,
    month integer NOT NULL CHECK (month BETWEEN 1 AND 12),
    total_requests bigint NOT NULL,
    unpriced_requests bigint NOT NULL,
    total_prompt_tokens bigint NOT NULL,
    total_completion_tokens bigint NOT NULL,
    total_tokens bigint NOT NULL,
    total_cost_usd numeric(38, 12) NOT NULL,
    last_request_at timestamptz,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (api_key_id, year, month)
);

-- What an INSERT added is in the monthly summaries before the statement ends, whoever made it; what a conflict left out
-- is in no transition table and counts nowhere. Months are taken in order, so that two writers lock alike.
CREATE FUNCTION usage_records_summarise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO monthly_usage_summaries AS s (
        api_key_id, year, month, total_requests, unpriced_requests, total_prompt_tokens, total_completion_tokens,
        total_tokens, total_cost_usd, last_request_at, updated_at
    )
    SELECT
        api_key_id,
        extract(year FROM request_timestamp AT TIME ZONE 'UTC')::integer AS year,
        extract(month FROM request_timestamp AT TIME ZONE 'UTC')::integer AS month,
        count(*), count(*) - count(cost_usd), sum(prompt_tokens), sum(completion_tokens), sum(total_tokens),
        coalesce(sum(cost_usd), 0), max(request_timestamp), now()
    FROM inserted
    GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3
    ON CONFLICT (api_key_id, year, month) DO UPDATE SET
        total_requests = s.total_requests + excluded.total_requests,
        unpriced_requests = s.unpriced_requests + excluded.unpriced_requests,
        total_prompt_tokens = s.total_prompt_tokens + excluded.total_prompt_tokens,
        total_completion_tokens = s.total_completion_tokens + excluded.total_completion_tokens,
        total_tokens = s.total_tokens + excluded.total_tokens,
        total_cost_usd = s.total_cost_usd + excluded.total_cost_usd,
        last_request_at = greatest(s.last_request_at, excluded.last_request_at),
        updated_at = excluded.updated_at;
    RETURN NULL;
END
$$;

CREATE TRIGGER usage_records_summarise AFTER INSERT ON usage_records
REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION usage_records_summarise();

-- A record that is priced anew moves its month's sums in the same statement, months in order as above. What is deleted
-- stays in the sums: they outlive the records.
CREATE FUNCTION usage_records_reprice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO monthly_usage_summaries AS s (
        api_key_id, year, month, total_requests, unpriced_requests, total_prompt_tokens, total_completion_tokens,
        total_tokens, total_cost_usd, last_request_at, updated_at
    )
    SELECT
        n.api_key_id,
        extract(year FROM n.request_timestamp AT TIME ZONE 'UTC')::integer AS year,
        extract(month FROM n.request_timestamp AT TIME ZONE 'UTC')::integer AS month,
        0, count(o.cost_usd) - count(n.cost_usd), 0, 0, 0,
        coalesce(sum(n.cost_usd), 0) - coalesce(sum(o.cost_usd), 0), max(n.request_timestamp), now()
    FROM updated AS n
    JOIN outdated AS o ON o.id = n.id
    WHERE n.cost_usd IS DISTINCT FROM o.cost_usd
    GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3
    ON CONFLICT (api_key_id, year, month) DO UPDATE SET
        unpriced_requests = s.unpriced_requests + excluded.unpriced_requests,
        total_cost_usd = s.total_cost_usd + excluded.total_cost_usd,
        updated_at = excluded.updated_at;
    RETURN NULL;
END
$$;

CREATE TRIGGER usage_records_reprice AFTER UPDATE ON usage_records
REFERENCING OLD TABLE AS outdated NEW TABLE AS updated FOR EACH STATEMENT EXECUTE FUNCTION usage_records_reprice();
