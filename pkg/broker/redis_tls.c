#include "broker/redis_tls.h"

#ifdef MILLRACE_REDIS_TLS

#include <arpa/inet.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

static bool is_ip(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* Who has to be there. Server name indication is for names alone. */
static bool expect_host(SSL *ssl, const char *host)
{
    if (is_ip(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static SSL *new_ssl(const char *host)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = NULL;

    if (context && SSL_CTX_set_default_verify_paths(context) == 1)
        ssl = SSL_new(context);
    SSL_CTX_free(context); /* ssl holds it */
    if (!ssl || !expect_host(ssl, host)) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    return ssl;
}

bool redis_tls_failed(const redisContext *handle, struct error *err)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());

    return error_set(err, ERROR_UNAVAILABLE, "TLS: %s", why ? why : handle->errstr);
}

bool redis_tls_start(redisContext *handle, const char *host, struct error *err)
{
    SSL *ssl = new_ssl(host);

    if (ssl && redisInitiateSSL(handle, ssl) == REDIS_OK)
        return true;
    redis_tls_failed(handle, err);
    SSL_free(ssl);
    return false;
}

#else

bool redis_tls_start(redisContext *handle, const char *host, struct error *err)
{
    (void)handle, (void)host;
    return error_set(err, ERROR_INVALID, "this build's hiredis has no TLS");
}

bool redis_tls_failed(const redisContext *handle, struct error *err)
{
    return error_set(err, ERROR_UNAVAILABLE, "%s", handle->errstr);
}

#endif
