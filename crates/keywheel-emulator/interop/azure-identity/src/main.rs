//! Signs in with the published `azure_identity`, unmodified, against whatever the environment points at.
//!
//! Reads `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET`, `AZURE_CLIENT_CERTIFICATE_PATH`,
//! `AZURE_AUTHORITY_HOST` and `SSL_CERT_FILE`, as the crate itself and its TLS do.

use std::env::var;
use std::error::Error;
use std::fs;

use azure_core::credentials::{Secret, SecretBytes, TokenCredential};
use azure_identity::{ClientCertificateCredential, ClientSecretCredential};
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::x509::X509;

const SCOPE: &[&str] = &["https://graph.microsoft.com/.default"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (tenant, client) = (var("AZURE_TENANT_ID")?, var("AZURE_CLIENT_ID")?);
    let secret = |text: String| ClientSecretCredential::new(&tenant, client.clone(), Secret::new(text), None);

    let token = secret(var("AZURE_CLIENT_SECRET")?)?.get_token(SCOPE, None).await?;
    println!("secret: a token until {}", token.expires_on);

    let pem = fs::read(var("AZURE_CLIENT_CERTIFICATE_PATH")?)?;
    let (key, certificate) = (PKey::private_key_from_pem(&pem)?, X509::from_pem(&pem)?);
    let archive = Pkcs12::builder().pkey(&key).cert(&certificate).build2("")?.to_der()?;
    let credential = ClientCertificateCredential::new(tenant.clone(), client.clone(), SecretBytes::new(archive), None)?;
    let token = credential.get_token(SCOPE, None).await?;
    println!("certificate: a token until {}", token.expires_on);

    match secret("wrong".to_owned())?.get_token(SCOPE, None).await {
        Ok(_) => Err("a wrong secret was taken".into()),
        Err(error) if format!("{error:?} {error}").contains("AADSTS7000215") => {
            println!("wrong secret: AADSTS7000215");
            Ok(())
        }
        Err(error) => Err(format!("another error than AADSTS7000215: {error:?}").into()),
    }
}
