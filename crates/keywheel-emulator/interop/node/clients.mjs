// Signs in with MSAL for Node, @azure/identity and openid-client, and calls with Microsoft's Graph client, all unmodified,
// against the emulator.
//
// Reads AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH, AZURE_AUTHORITY_HOST,
// KEYWHEEL_GRAPH_ENDPOINT, and NODE_EXTRA_CA_CERTS as Node itself does. Prints a line for each thing that worked, and fails
// at the first that did not.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import { ClientCertificateCredential, ClientSecretCredential } from '@azure/identity';
import * as msal from '@azure/msal-node';
import { Client } from '@microsoft/microsoft-graph-client';
import * as openid from 'openid-client';

const { AZURE_TENANT_ID: tenant, AZURE_CLIENT_ID: id, AZURE_CLIENT_SECRET: secret } = process.env;
const { AZURE_AUTHORITY_HOST: host, KEYWHEEL_GRAPH_ENDPOINT: graph } = process.env;
const scope = 'https://graph.microsoft.com/.default';
const redirectUri = 'http://localhost:5000/callback';
const pem = fs.readFileSync(process.env.AZURE_CLIENT_CERTIFICATE_PATH, 'utf8');
const block = (label) => pem.match(new RegExp(`-----BEGIN ${label}-----[^]*?-----END ${label}-----\n`))[0];
const certificate = new crypto.X509Certificate(block('CERTIFICATE'));
const key = block('PRIVATE KEY');
const thumbprint = (hash) => crypto.createHash(hash).update(certificate.raw);

const confidential = (credential) => new msal.ConfidentialClientApplication({
  auth: { clientId: id, authority: `${host}/${tenant}`, knownAuthorities: [new URL(host).host], ...credential },
});
const byMsal = (credential) => confidential(credential).acquireTokenByClientCredential({ scopes: [scope] });
const options = { authorityHost: host, disableInstanceDiscovery: true };

// Goes through the pages as a person with a browser does; returns where the browser is sent.
async function signIn(url) {
  const send = async (page, fields) => {
    const text = await page.text();
    const hidden = [...text.matchAll(/<input[^>]*type="hidden"[^>]*>/g)].map(([it]) => [
      it.match(/name="([^"]+)"/)[1],
      it.match(/value="([^"]*)"/)[1],
    ]);
    const body = new URLSearchParams([...hidden, ...Object.entries(fields)]);
    return fetch(new URL(text.match(/action="([^"]+)"/)[1], host), { method: 'POST', redirect: 'manual', body });
  };
  const person = { login: 'ada@contoso.example', passwd: "ada's password", action: 'signin' };
  let page = await send(await fetch(url), person);
  if (page.status !== 302) page = await send(page, { action: 'accept' });
  return new URL(page.headers.get('location'));
}

const cases = {
  async msal_secret() {
    const { accessToken, tokenType } = await byMsal({ clientSecret: secret });
    assert(accessToken && tokenType === 'Bearer');
  },
  async msal_wrong_secret() {
    await assert.rejects(byMsal({ clientSecret: 'wrong' }), (error) => {
      return error.errorCode === 'invalid_client' && error.message.includes('AADSTS7000215');
    });
  },
  async msal_certificate_sha1() {
    await byMsal({ clientCertificate: { thumbprint: thumbprint('sha1').digest('hex'), privateKey: key, x5c: block('CERTIFICATE') } });
  },
  async msal_certificate_sha256() {
    await byMsal({ clientCertificate: { thumbprintSha256: thumbprint('sha256').digest('hex'), privateKey: key } });
  },
  async msal_user() {
    const client = confidential({ clientSecret: secret });
    const { verifier, challenge } = await new msal.CryptoProvider().generatePkceCodes();
    const asked = { scopes: ['User.Read'], redirectUri };
    const url = await client.getAuthCodeUrl({ ...asked, codeChallenge: challenge, codeChallengeMethod: 'S256' });
    const code = (await signIn(url)).searchParams.get('code');
    const { account } = await client.acquireTokenByCode({ ...asked, code, codeVerifier: verifier });
    assert.equal(account.username, 'ada@contoso.example');
    const again = await client.acquireTokenSilent({ account, scopes: ['User.Read'], forceRefresh: true });
    assert.equal(again.fromCache, false);
  },
  async azure_identity_secret() {
    await new ClientSecretCredential(tenant, id, secret, options).getToken(scope);
  },
  async azure_identity_certificate() {
    const credential = new ClientCertificateCredential(tenant, id, { certificate: pem }, { ...options, sendCertificateChain: true });
    await credential.getToken(scope);
  },
  async azure_identity_wrong_secret() {
    const credential = new ClientSecretCredential(tenant, id, 'wrong', options);
    await assert.rejects(credential.getToken(scope), /AADSTS7000215/);
  },
  async graph_client() {
    const credential = new ClientSecretCredential(tenant, id, secret, options);
    const client = Client.initWithMiddleware({
      baseUrl: graph,
      customHosts: new Set([new URL(graph).hostname]),
      authProvider: { getAccessToken: async () => (await credential.getToken(scope)).token },
    });
    const own = await client.api(`/applications(appId='${id}')`).select('id,passwordCredentials').get();
    const { keyId } = await client.api(`/applications/${own.id}/addPassword`).post({ passwordCredential: { displayName: 'node' } });
    const remove = () => client.api(`/applications/${own.id}/removePassword`).post({ keyId });
    await remove();
    await assert.rejects(remove(), (error) => error.statusCode === 400 && error.message.startsWith('No password credential found'));
  },
  async openid_client() {
    const config = await openid.discovery(new URL(`${host}/${tenant}/v2.0`), id, secret);
    await openid.clientCredentialsGrant(config, { scope });
    const pkceCodeVerifier = openid.randomPKCECodeVerifier();
    const [state, nonce] = [openid.randomState(), openid.randomNonce()];
    const url = openid.buildAuthorizationUrl(config, {
      redirect_uri: redirectUri,
      scope: 'openid profile email offline_access User.Read',
      code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: 'S256',
      state,
      nonce,
    });
    const checks = { pkceCodeVerifier, expectedState: state, expectedNonce: nonce };
    const tokens = await openid.authorizationCodeGrant(config, await signIn(url), checks);
    const again = await openid.refreshTokenGrant(config, tokens.refresh_token);
    await openid.fetchUserInfo(config, again.access_token, tokens.claims().sub);
  },
  async openid_client_by_key() {
    const der = crypto.createPrivateKey(key).export({ type: 'pkcs8', format: 'der' });
    const signer = await crypto.subtle.importKey('pkcs8', der, { name: 'RSA-PSS', hash: 'SHA-256' }, false, ['sign']);
    const proof = openid.PrivateKeyJwt({ key: signer }, {
      [openid.modifyAssertion]: (header, claims) => {
        header['x5t#S256'] = thumbprint('sha256').digest('base64url');
        claims.aud = `${host}/${tenant}/oauth2/v2.0/token`;
      },
    });
    const config = await openid.discovery(new URL(`${host}/${tenant}/v2.0`), id, undefined, proof);
    await openid.clientCredentialsGrant(config, { scope });
  },
};

for (const [name, run] of Object.entries(cases)) {
  await run();
  console.log(name, 'ok');
}
