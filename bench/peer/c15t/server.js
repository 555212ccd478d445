// c15t's backend on PostgreSQL, set up as its own guide has it: PORT and DATABASE_URL say where.
import { serve } from '@hono/node-server';
import { c15tInstance } from '@c15t/backend';
import { kyselyAdapter } from '@c15t/backend/db/adapters/kysely';
import { migrator } from '@c15t/backend/db/migrator';
import { DB } from '@c15t/backend/db/schema';
import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const adapter = kyselyAdapter({ db: new Kysely({ dialect: new PostgresDialect({ pool }) }), provider: 'postgresql' });

const migration = await migrator({ db: DB.client(adapter), schema: 'latest' });
await migration.execute();

const backend = c15tInstance({
  appName: 'bench',
  adapter,
  trustedOrigins: ['localhost'],
  logger: { level: 'error' },
});
const server = { fetch: backend.handler, hostname: '127.0.0.1', port: Number(process.env.PORT) };
serve(server, () => console.log(`ready, pid ${process.pid}`));
