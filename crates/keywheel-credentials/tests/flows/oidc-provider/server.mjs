// A certified OpenID provider at the addresses that Entra has, behind TLS, on a free port.
//
// usage: node server.mjs SETTINGS.json     prints its origin on one line and serves until it is killed

import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import https from 'node:https';

import Provider from 'oidc-provider';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const place = `/${settings.tenant}`;

const server = https.createServer({ cert: settings.tls.certificate, key: settings.tls.key });
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const origin = `https://localhost:${server.address().port}`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const signing = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' };
const certified = createPublicKey(settings.certificate).export({ format: 'jwk' });

const common = {
  grant_types: ['client_credentials', 'authorization_code', 'refresh_token'],
  redirect_uris: [settings.redirect_uri],
  response_types: ['code'],
};

const provider = new Provider(`${origin}${place}/v2.0`, {
  clients: [
    {
      ...common,
      client_id: settings.secret_client,
      client_secret: settings.secret,
      token_endpoint_auth_method: 'client_secret_post',
    },
    {
      ...common,
      client_id: settings.certificate_client,
      jwks: { keys: [{ ...certified, use: 'sig', alg: 'PS256' }] },
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'PS256',
    },
  ],
  claims: { openid: ['sub', 'tid', 'oid'], profile: ['name', 'preferred_username'] },
  clientAuthMethods: ['client_secret_post', 'private_key_jwt'],
  conformIdTokenClaims: false,
  enabledJWA: { clientAuthSigningAlgValues: ['PS256'] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    revocation: { enabled: true },
  },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      tid: settings.tenant,
      oid: settings.user,
      name: 'Ben',
      preferred_username: id,
    }),
  }),
  jwks: { keys: [signing] },
  rotateRefreshToken: true,
  routes: { authorization: '/oauth2/v2.0/authorize', token: '/oauth2/v2.0/token' },
  scopes: ['openid', 'offline_access', settings.scope],
  cookies: { keys: ['of this test only'] },
});
provider.on('server_error', (_, error) => console.error(error));

const serve = provider.callback();
server.on('request', (request, response) => {
  request.originalUrl = request.url;
  const inner = request.url.replace(place, '').replace('/v2.0/.well-known', '/.well-known');
  request.url = inner.replace(/^\/v2\.0\/jwks/, '/jwks');
  serve(request, response);
});
console.log(origin);
